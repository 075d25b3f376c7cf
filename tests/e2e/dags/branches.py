"""Tasks that tell Airflow's scheduler what to skip: it reads their XComs itself, past every backend."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.sdk import dag, task

from tests.e2e.dags.kit import got, task_instance
from tests.e2e.unstoppable_paths import AIRFLOW


def no() -> bool:
    """What a ShortCircuitOperator takes for no."""
    return False


@dag(schedule=None)
def branches() -> None:
    """A branch before mapped tasks, and both kinds of short circuit; some of it is cleared afterwards."""

    @task.branch
    def choose() -> str:
        return "left"

    @task
    def left(number: int) -> int:
        return number

    @task
    def right(number: int) -> int:
        return number

    @task(trigger_rule="none_failed_min_one_success")
    def joined() -> None:
        instance = task_instance()
        got("branch result", instance.xcom_pull("choose"))
        # Airflow 3.4 writes it past every backend, and so a pull refuses it.
        if AIRFLOW < (3, 4):
            got("branch, what was followed", instance.xcom_pull("choose", key="skipmixin_key"))
        got("chosen", instance.xcom_pull("left"))
        got("not chosen", instance.xcom_pull("right"))

    # The branch's own request to skip reaches no mapped task instance: those the scheduler skips by the XCom.
    choosing: Any = choose()
    chosen: Any = [left.expand(number=[1, 2]), right.expand(number=[3, 4])]
    choosing >> chosen >> joined()

    # The one skips whatever comes after it, the other its own followers only, whose trigger rules are kept.
    short = ShortCircuitOperator(task_id="short", python_callable=no)
    short >> EmptyOperator(task_id="after_short") >> EmptyOperator(task_id="whatever", trigger_rule="all_done")
    polite = ShortCircuitOperator(task_id="polite", python_callable=no, ignore_downstream_trigger_rules=False)
    polite >> EmptyOperator(task_id="after_polite") >> EmptyOperator(task_id="all_done", trigger_rule="all_done")


branches()

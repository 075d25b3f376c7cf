"""Tasks that pull an exclusive XCom in every attempt that they have, and how they come to another one."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, BaseSensorOperator, dag, get_current_context, task

NOTES = Path(os.environ["SECURE_XCOM_E2E_NOTES"])
# Written down by the test while a task waits for its retry.
RETRIES = int(NOTES.with_name("retries").read_text())
LONG = timedelta(hours=1)
SOON = timedelta(seconds=1)


def pull(instance: Any, of: str = "make") -> None:
    """Pull the token that is meant for this task, and note how this attempt fared."""
    try:
        instance.xcom_pull(task_ids=of, key=f"{instance.task_id}_token")
        outcome = "pulled"
    except Exception as error:  # noqa: BLE001  # noted
        outcome = type(error).__name__
    line = {
        "task": f"{instance.dag_id}.{instance.task_id}",
        "try_number": instance.try_number,
        "max_tries": instance.max_tries,
        "attempt": str(instance.id),
        "outcome": outcome,
    }
    with NOTES.open("a") as notes:
        notes.write(json.dumps(line) + "\n")


def _pull_and_fail() -> None:
    pull(get_current_context()["ti"])
    raise RuntimeError("the claimant does not succeed")


def _pull_and_stay() -> None:
    instance = get_current_context()["ti"]
    pull(instance)
    if instance.try_number == 1:
        time.sleep(600)


class Deferring(BaseOperator):
    """Pulls before and after it waits."""

    def execute(self, context: Any) -> None:
        pull(context["ti"])
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=4)), method_name="resume")

    def resume(self, context: Any, event: Any) -> None:  # as Airflow calls it
        pull(context["ti"])


class Rescheduled(BaseSensorOperator):
    """Pulls each time that it looks."""

    def __init__(self, **options: Any) -> None:
        super().__init__(mode="reschedule", poke_interval=2, timeout=60, **options)

    def poke(self, context: Any) -> bool:
        pull(context["ti"])
        return len([line for line in NOTES.read_text().splitlines() if ".rescheduled" in line]) > 1


def _make(*tasks: Any) -> None:
    # A decorated task's call gives what it returns.
    names = [getattr(one, "operator", one).task_id for one in tasks]

    @task
    def make() -> None:
        for name in names:
            get_current_context()["ti"].xcom_push(f"{name}_token", "a token")

    made = make()
    for other in tasks:
        made >> other


@dag(schedule=None, catchup=False)
def strict_ways() -> None:
    """Its compartment lets one attempt pull."""
    retried = task(task_id="retried", retries=1, retry_delay=SOON)(_pull_and_fail)()
    failed = task(task_id="failed", retries=0)(_pull_and_fail)()
    lowered = task(task_id="lowered", retries=RETRIES, retry_delay=LONG)(_pull_and_fail)()

    running = task(task_id="running", retries=2, retry_delay=SOON)(_pull_and_stay)()
    _make(retried, failed, lowered, running, Deferring(task_id="deferred"), Rescheduled(task_id="rescheduled"))


@dag(schedule=None, catchup=False)
def strict_run() -> None:
    """Cleared as a whole run."""
    _make(task(task_id="failed", retries=0)(_pull_and_fail)())


@dag(schedule=None, catchup=False)
def strict_cli() -> None:
    """Cleared by Airflow's command."""
    _make(task(task_id="failed", retries=0)(_pull_and_fail)())


@dag(schedule=None, catchup=False)
def lenient_ways() -> None:
    """Its compartment lets every attempt pull."""
    _make(
        task(task_id="retried", retries=1, retry_delay=SOON)(_pull_and_fail)(),
        task(task_id="failed", retries=0)(_pull_and_fail)(),
    )


strict_ways()
strict_run()
strict_cli()
lenient_ways()

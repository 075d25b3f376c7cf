"""What each team runs during the soak: pushes, pulls, mapped and deferred tasks, and an XCom for one reader."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator, Param, get_current_context, task

from secure_xcom.errors import ClaimRefused, ReferenceShredded
from tests.e2e.dags.kit import got, said, secret, task_instance
from tests.soak import values

# Faults come every few seconds, and a task meets several.
RETRIES = 40


def name_of(what: str) -> str:
    """What something of this run is called in the notes."""
    context = get_current_context()
    return f"{context['dag'].dag_id} {context['run_id']} {what}"


class Defers(BaseOperator):
    """Waits in the triggerer, and pushes in another process than it began in."""

    def execute(self, context: Any) -> None:
        """Defer."""
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="after")

    def after(self, context: Any, event: Any) -> dict[str, Any]:
        """Push."""
        return values.mapped(0, secret(name_of("deferred")))


def build_soak(team: str) -> DAG:
    """A run of one team; every value that is pulled is noted by its digest."""
    with DAG(f"{team}_soak", **_options()) as dag:

        @task
        def produce() -> None:
            for key, value in values.pushed(secret(name_of("pushed"))).items():
                task_instance().xcom_push(key, value)

        @task
        def each(number: int) -> Any:
            return values.mapped(number, secret(name_of("mapped")))

        @task
        def gather(found: list[Any]) -> None:
            for key in values.pushed(""):
                got(name_of(key), task_instance().xcom_pull(task_ids="produce", key=key))
            got(name_of("deferred"), task_instance().xcom_pull(task_ids="defers"))
            got(name_of("mapped"), list(found))

        @task
        def login() -> None:
            task_instance().xcom_push(values.EXCLUSIVE, secret(name_of("token")))

        @task
        def rival(number: int) -> None:
            try:
                value = task_instance().xcom_pull(task_ids="login", key=values.EXCLUSIVE)
            except (ClaimRefused, ReferenceShredded):
                said(name_of("refused"), str(number))
            else:
                said(name_of("reader"), str(number))
                got(name_of("token"), value)

        first = produce()
        first >> Defers(task_id="defers") >> gather(each.expand(number=list(values.MAPPED)))  # type: ignore[arg-type]  # TaskFlow
        login() >> rival.expand(number=[1, 2])
    return dag


def build_reads(team: str) -> DAG:
    """Pulls everything of all runs once more, after keys were rotated and rewrapped."""
    with DAG(f"{team}_reads", params={"runs": Param([], type="array")}, **_options()) as dag:

        @task
        def read_again() -> None:
            context = get_current_context()
            for run_id in context["params"]["runs"]:
                for key in values.pushed(""):
                    value = task_instance().xcom_pull(
                        dag_id=f"{team}_soak", run_id=run_id, task_ids="produce", key=key
                    )
                    got(f"{team}_soak {run_id} {key} again", value)

        read_again()
    return dag


def _options() -> dict[str, Any]:
    return {
        "schedule": None,
        "start_date": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "catchup": False,
        "default_args": {"retries": RETRIES, "retry_delay": timedelta(seconds=2)},
    }


finance_soak, marketing_soak = build_soak("finance"), build_soak("marketing")
finance_reads, marketing_reads = build_reads("finance"), build_reads("marketing")

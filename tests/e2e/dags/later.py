"""Values that are pushed in one part of a task's life and pulled in another: retries, deferral, earlier runs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.sdk import BaseOperator, Context, dag, get_current_context, task

from tests.e2e.dags.kit import got, secret, task_instance
from tests.e2e.dags.triggers import Pulling


class Deferring(BaseOperator):
    """Pushes, waits for a trigger that pulls what was pushed, and goes on."""

    def execute(self, context: Context) -> None:
        instance: Any = context["ti"]
        instance.xcom_push(key="before", value={"token": secret("push before defer")})
        place = {name: getattr(instance, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
        self.defer(trigger=Pulling(key="before", **place), method_name="resume", kwargs={"step": 1})

    def resume(self, context: Context, event: str, step: int) -> dict[str, str]:
        """Called when the trigger has fired."""
        instance: Any = context["ti"]
        got("after defer event", (event, step))
        got("after defer own push", instance.xcom_pull("deferring", key="before", map_indexes=-1))
        return {"token": secret("return after defer")}


@dag(schedule=None, start_date=datetime(2024, 1, 1, tzinfo=timezone.utc), max_active_runs=1)
def later() -> None:
    """Run twice, with two logical dates; only the first run pushes what the second one pulls."""

    @task(retries=1, retry_delay=timedelta(seconds=0))
    def tries() -> str:
        instance = task_instance()
        instance.xcom_push(
            key="attempt", value=[instance.try_number, secret(f"push of try {instance.try_number}")]
        )
        if instance.try_number == 1:
            instance.xcom_push(key="only the first", value=secret("push of a failed try"))
            raise RuntimeError("the first try fails")
        got("own push of the failed try", instance.xcom_pull("tries", key="only the first", map_indexes=-1))
        return secret("return of the second try")

    @task
    def after(value: str) -> None:
        instance = task_instance()
        got("return after retry", value)
        got("push after retry", instance.xcom_pull("tries", key="attempt"))
        got("push of the failed try", instance.xcom_pull("tries", key="only the first"))

    @task
    def first_run_only() -> str | None:
        return secret("return of an earlier run") if get_current_context()["run_id"] == "first" else None

    @task
    def prior() -> None:
        instance = task_instance()
        run = instance.run_id
        for prior_too in (False, True):
            for indexes in ({}, {"map_indexes": -1}, {"map_indexes": None}):
                found = instance.xcom_pull("first_run_only", include_prior_dates=prior_too, **indexes)
                got(f"{run} prior={prior_too} {indexes}", found)
        got(f"{run} other run", instance.xcom_pull("first_run_only", run_id="first", map_indexes=-1))
        got(f"{run} all of both runs", instance.xcom_pull("tries", include_prior_dates=True))

    @task
    def after_defer(value: dict[str, str]) -> None:
        got("return after defer", value)

    tried: Any = tries()
    deferred: Any = Deferring(task_id="deferring")
    [after(tried), first_run_only()] >> prior()
    after_defer(deferred.output)


later()

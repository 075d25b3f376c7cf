"""What an honest team writes: every kind of task, and not a word of where it runs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator, get_current_context, setup, task

from tests.e2e.placed_note import note

DAG_ID = "finance_good"

with DAG(DAG_ID, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):

    @setup
    def prepare() -> None:
        """A setup task."""
        note(DAG_ID, "prepare")

    @task
    def produce() -> list[int]:
        """What is mapped over. Nothing is pulled, so Airflow's context is gone before we are asked."""
        note(DAG_ID, "produce")
        return [1, 2]

    @task.sensor(mode="reschedule", poke_interval=1, timeout=120)
    def wait() -> bool:
        """A sensor."""
        note(DAG_ID, "wait")
        return True

    @task(retries=1, retry_delay=timedelta(seconds=1))
    def double(number: int) -> int:
        """A mapped task that fails once."""
        note(DAG_ID, "double")
        if number == 2 and get_current_context()["ti"].try_number == 1:
            raise RuntimeError("once")
        return number * 2

    @task
    def gather(numbers: list[int]) -> int:
        """Pulls what all of them pushed."""
        note(DAG_ID, "gather")
        return sum(numbers)

    class Defers(BaseOperator):
        """Waits in the triggerer."""

        def execute(self, context: Any) -> None:
            """Before."""
            note(DAG_ID, "before it defers")
            self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="after")

        def after(self, context: Any, event: Any) -> str:
            """Afterwards, in another process."""
            note(DAG_ID, "after it deferred")
            return "deferred"

    doubled = double.expand(number=produce())
    prepare() >> [wait(), Defers(task_id="defers")] >> doubled
    gather(doubled)  # type: ignore[arg-type]  # as TaskFlow is written

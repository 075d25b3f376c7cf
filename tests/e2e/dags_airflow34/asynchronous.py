"""Async pushes and pulls of tasks and triggers, on Airflow 3.3 and later."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator, dag, get_current_context, task

from tests.e2e.dags_airflow34.waiting import note

VALUE = {"password": "of a task", "n": 1}


class Defers(BaseOperator):
    """Wait for a trigger that pulls or pushes in one way."""

    def __init__(self, way: str, together: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.way, self.together = way, together

    def execute(self, context: Any) -> None:
        from tests.e2e.dags_airflow34.waiting import Waiting

        instance = context["ti"]
        own = {name: getattr(instance, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
        source = {"key": "return_value", "dag_id": self.dag_id, "run_id": instance.run_id, "task_id": "make"}
        trigger = Waiting(self.way, own, source, self.together)
        self.defer(trigger=trigger, method_name="resume", timeout=timedelta(seconds=90))

    def resume(self, context: Any, event: Any) -> None:
        if context["ti"].try_number == 1 and self.retries:
            raise RuntimeError("once more")


@task
def make() -> dict[str, Any]:
    """Push what the others pull."""
    return VALUE


@dag(schedule=None, catchup=False)
def pulls_in_triggers() -> None:
    """Four triggers at once that block, and four that do not."""
    made = make()
    for way in ("get_one", "aget_one"):
        for number in range(4):
            made >> Defers(task_id=f"{way}_{number}", way=way, together=4)


@dag(schedule=None, catchup=False)
def pushes_in_triggers() -> None:
    """Triggers that push for their task, in both tries."""
    for way in ("set", "aset", "thread"):
        Defers(task_id=f"pushes_{way}", way=way, retries=1, retry_delay=timedelta(seconds=0))


@dag(schedule=None, catchup=False)
def gathers() -> None:
    """Many pushes and a pull at the same time in one task."""

    @task
    async def gather() -> None:
        instance = get_current_context()["ti"]
        pushes = [instance.axcom_push(f"k{number}", {"password": f"p{number}"}) for number in range(20)]
        pull = instance.axcom_pull(task_ids="make")
        try:
            value, *_ = await asyncio.wait_for(asyncio.gather(pull, *pushes), 30)
        except asyncio.TimeoutError:
            note("gather", "hangs")
            raise
        note("gather", value)

    @task
    async def cancel() -> None:
        instance = get_current_context()["ti"]
        for number in range(12):
            push = asyncio.create_task(instance.axcom_push(f"c{number}", {"password": "p" * 100_000}))
            await asyncio.sleep(number * 0.004)
            push.cancel()
            await asyncio.wait([push])

    @task
    def look() -> None:
        instance = get_current_context()["ti"]
        found = [instance.xcom_pull(task_ids="gather", key=f"k{number}") for number in range(20)]
        note("gathered", [value["password"] for value in found])

    make() >> gather() >> [cancel(), look()]  # type: ignore[list-item]  # as TaskFlow is written


pulls_in_triggers()
pushes_in_triggers()
gathers()

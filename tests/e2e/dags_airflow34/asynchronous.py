"""Async pushes and pulls of tasks and triggers, on Airflow 3.3 and later."""

# TaskFlow gives tasks their context, and its types are those of Airflow 3.3.
# mypy: disable-error-code="attr-defined,arg-type,call-arg,operator,list-item,no-untyped-call,call-overload,index"

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

from tests.e2e.dags_airflow34.waiting import Defers, note

VALUE = {"password": "of a task", "n": 1}


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
            value, *_ = await asyncio.wait_for(asyncio.gather(pull, *pushes), 300)
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

    make() >> gather() >> [cancel(), look()]


pulls_in_triggers()
pushes_in_triggers()
gathers()

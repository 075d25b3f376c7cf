"""A DAG with a loop in which rows of the database are exchanged: between iterations, and between attempts."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import dag, get_current_context, task, task_group

from secure_xcom import exclusive

ROWS = (
    "SELECT x.task_instance_id, x.value FROM xcom_v2 x JOIN task_instance t ON t.id = x.task_instance_id "
    "WHERE t.dag_id = 'loops_exchanged' AND t.task_id = ? AND t.region_index = ? AND x.key = ? "
    "ORDER BY t.region_id, t.try_number"
)


def note(name: str, pull: Callable[[], object]) -> None:
    """Note what a pull gives, or the class of the error that it ends in."""
    try:
        outcome = pull()
    except Exception as error:  # noqa: BLE001  # noted
        outcome = type(error).__name__
    with open(os.environ["SECURE_XCOM_E2E_NOTES"], "a", encoding="utf-8") as notes:
        notes.write(json.dumps({"name": name, "outcome": outcome}) + "\n")


def index_of_loop() -> int:
    """The iteration of the task that runs this."""
    context: Any = get_current_context()
    return int(context["loop"].index)


def _database() -> sqlite3.Connection:
    return sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db", timeout=60)


def copied(
    task_id: str, source: int, target: int, key: str = "return_value", tries: tuple[int, int] = (-1, -1)
) -> str:
    """Copy the row of one iteration, or of one attempt in it, over another one; return what stood there."""
    with closing(_database()) as database, database:
        _, value = database.execute(ROWS, (task_id, source, key)).fetchall()[tries[0]]
        attempt, before = database.execute(ROWS, (task_id, target, key)).fetchall()[tries[1]]
        database.execute(
            "UPDATE xcom_v2 SET value = ? WHERE task_instance_id = ? AND key = ?", (value, attempt, key)
        )
    return str(before)


def restored(task_id: str, target: int, value: str, key: str = "return_value") -> None:
    """Put a row back."""
    with closing(_database()) as database, database:
        attempt, _ = database.execute(ROWS, (task_id, target, key)).fetchall()[-1]
        database.execute(
            "UPDATE xcom_v2 SET value = ? WHERE task_instance_id = ? AND key = ?", (value, attempt, key)
        )


@dag(schedule=None, catchup=False)
def loops_exchanged() -> None:
    """Three iterations; the rows of the first one are put in the place of the second one's."""

    @task(retries=1, retry_delay=timedelta(0))
    def produce() -> dict[str, Any]:
        context: Any = get_current_context()
        instance, index = context["ti"], context["loop"].index
        instance.xcom_push("own", {"try": instance.try_number, "iteration": index})
        instance.xcom_push("token", exclusive({"password": f"of iteration {index}"}))
        if index == 1 and instance.try_number == 1:
            raise RuntimeError("once more")
        if index == 1:
            # The archived try's row in the place of this one's.
            before = copied("body.produce", 1, 1, "own", tries=(0, 1))
            note(
                "own, row of the try before",
                lambda: instance.xcom_pull(task_ids="body.produce", key="own", map_indexes=-1),
            )
            restored("body.produce", 1, before, "own")
        return {"iteration": index, "password": f"of iteration {index}"}

    @task
    def each(number: int) -> dict[str, int]:
        return {"iteration": index_of_loop(), "number": number}

    @task
    def consume() -> dict[str, Any]:
        context: Any = get_current_context()
        instance, loop = context["ti"], context["loop"]

        def pull(key: str = "return_value") -> object:
            return instance.xcom_pull(task_ids="body.produce", key=key)

        note(f"token of iteration {loop.index}", lambda: pull("token"))
        note(f"produce of iteration {loop.index}", pull)
        if loop.index == 1:
            before = copied("body.produce", 0, 1)
            note("produce, row of iteration 0", pull)
            restored("body.produce", 1, before)
            before = copied("body.produce", 0, 1, "token")
            note("token, row of iteration 0", lambda: pull("token"))
            restored("body.produce", 1, before, "token")
            before = copied("body.produce", 1, 1, "own", tries=(0, 1))
            note("own of another task, row of the try before", lambda: pull("own"))
            restored("body.produce", 1, before, "own")
            # The regions of a mapped task are its expansions, one in each iteration.
            note("mapped", lambda: list(instance.xcom_pull(task_ids="body.each")))
            before = copied("body.each", 0, 0, tries=(0, 1))
            note("mapped, row of iteration 0", lambda: instance.xcom_pull(task_ids="body.each", map_indexes=0))
            note("all mapped, row of iteration 0", lambda: list(instance.xcom_pull(task_ids="body.each")))
            restored("body.each", 0, before)
        if loop.index == 2:
            note("previous", lambda: loop.previous)
            before = copied("body.consume", 0, 1)
            note("previous, row of iteration 0", lambda: loop.previous)
            restored("body.consume", 1, before)
        return {"iteration": loop.index}

    @task_group
    def body() -> None:
        produce() >> each.expand(number=[0, 1]) >> consume()

    @task
    def look() -> None:
        instance = get_current_context()["ti"]

        def pull() -> list[object]:
            return list(instance.xcom_pull(task_ids="body.consume"))

        note("all", pull)
        before = copied("body.consume", 0, 1)
        note("all, row of iteration 0 at 1", pull)
        restored("body.consume", 1, before)
        before = copied("body.consume", 0, 2)
        note("all, row of iteration 0 at 2", pull)
        restored("body.consume", 2, before)

    body.loop(max_iterations=3) >> look()  # type: ignore[attr-defined]  # Airflow 3.4


loops_exchanged()

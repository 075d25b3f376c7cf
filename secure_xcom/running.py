"""What Airflow says of the task that this process runs: its try, its DAG's bundle and team.

All of it comes from the scheduler and the API server, not from the DAG file; and all of it is only as true as the
process is honest: a hostile task can say that it is another one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from secure_xcom.coordinate import Coordinate, TaskTry

_task: TaskTry | None = None
_clearing: int | None = None


def task() -> TaskTry | None:
    """The try of the task instance that this process runs, as Airflow tells it.

    Airflow's context is there while templates render and while the task executes; the return value is pushed
    after it is gone, but the variables that Airflow exports for the task are still set.
    """
    from airflow.sdk import get_current_context

    try:
        context = get_current_context()
    except RuntimeError:
        return _from_environment()
    return remember(context)


def remember(context: Mapping[str, Any]) -> TaskTry:
    """Keep what a task's context says, for when the context is gone.

    :param context: Airflow's, of a task.
    """
    global _task, _clearing  # noqa: PLW0603  # a process runs one task at a time
    instance = context["ti"]
    index = -1 if instance.map_index is None else instance.map_index
    # The bundle that the executor's workload named, and the API server's answer when the task started.
    bundle = getattr(getattr(instance, "bundle_instance", None), "name", None)
    team = getattr(context.get("dag_run"), "team_name", None)
    _task = TaskTry(
        instance.dag_id, instance.run_id, instance.task_id, index, instance.try_number, bundle=bundle, team=team
    )
    _clearing = getattr(instance, "max_tries", None)
    return _task


def certain(found: TaskTry | None) -> tuple[TaskTry, int | None] | None:
    """The task instance for certain, and Airflow's ``max_tries`` of it, which grows when it is cleared.

    None where no context has told its map index: then two mapped instances could not be told apart.

    :param found: what `task` has just said.
    """
    return None if found is None or found != _task else (found, _clearing)


def producer(coordinate: Coordinate) -> TaskTry | None:
    """The try that pushes. A task's own XComs have its own map index, which Airflow does not export."""
    found = task()
    if found is None:
        return None
    own = replace(found, map_index=coordinate.map_index)
    return own if (own.dag_id, own.run_id, own.task_id) == coordinate.of_task else found


def _from_environment() -> TaskTry | None:
    names = ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_DAG_RUN_ID", "AIRFLOW_CTX_TASK_ID")
    ids = [os.environ.get(name) for name in names]
    number = os.environ.get("AIRFLOW_CTX_TRY_NUMBER", "")
    if not all(ids) or not number.isdigit():
        return None
    exported = TaskTry(str(ids[0]), str(ids[1]), str(ids[2]), -1, int(number))
    # Airflow exports neither the map index nor the bundle, but the context told them while it was there.
    return _task if _task is not None and _task.same_task(exported) else exported

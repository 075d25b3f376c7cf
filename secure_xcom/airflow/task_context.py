"""What Airflow says of the task or trigger that this process runs: its try, its DAG's bundle and team.

All of it comes from the scheduler and the API server, not from the DAG file; and all of it is only as true as the
process is honest: a hostile task can say that it is another one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextvars import Context, ContextVar, copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from secure_xcom.connections import in_triggerer
from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry

if TYPE_CHECKING:
    from secure_xcom.claims.claimant import Claimant

DAG_PROCESSOR = "airflow.dag_processing.manager"
TASK_RUNNER = "airflow.sdk.execution_time.task_runner"

_task: TaskTry | None = None
_max_tries: int | None = None


def task() -> TaskTry | None:
    """Return the try of the task instance that this process runs, as Airflow tells it.

    Airflow's context is there while templates render and while the task executes; the return value is pushed
    after it is gone, but the variables that Airflow exports for the task are still set.
    """
    from airflow.sdk import get_current_context

    try:
        context = get_current_context()
    except RuntimeError:
        return _from_environment()
    return remember(context)


def is_in_process() -> bool:
    """Return whether the task runs in the process that asked for it: `dag.test()`, ``airflow dags test``."""
    comms = getattr(sys.modules.get(TASK_RUNNER), "SUPERVISOR_COMMS", None)
    return type(comms).__name__ == "InProcessSupervisorComms"


def remember(context: Mapping[str, Any]) -> TaskTry:
    """Keep what a task's context says, for when the context is gone.

    :param context: Airflow's, of a task.
    """
    global _task, _max_tries  # noqa: PLW0603  # a process runs one task at a time
    instance = context["ti"]
    _task = try_of(instance, getattr(context.get("dag_run"), "team_name", None))
    _max_tries = getattr(instance, "max_tries", None)
    return _task


def claimant(current: TaskTry | None) -> Claimant | None:
    """Return the task instance that may claim an exclusive XCom.

    None where no context has told its map index: then two mapped instances could not be told apart.

    :param current: the try that pulls.
    """
    if current is None or _task is None or current != _task:
        return None
    from secure_xcom.claims.claimant import Claimant

    ids = current.dag_id, current.run_id, current.task_id
    return Claimant(*ids, current.map_index, _max_tries, _task.attempt, current.iteration)


def consumer() -> TaskTry | None:
    """Return the try that pulls now: the running task's, or that of the task which waits for a trigger."""
    running = task()
    return acting() if running is None and in_triggerer() else running


def reach(asked: Asked, *, previous: bool = False, several: bool = False) -> Asked:
    """Return a question with what the task or trigger that asks knows of the answer: see `loops.reach`."""
    instance = current_instance()
    if getattr(instance, "region_id", None) is None:
        # Before Airflow 3.4 no two task instances share a coordinate.
        return asked
    from secure_xcom.airflow import loops

    return loops.reach(asked, instance, previous=previous, several=several)


def current_instance() -> Any:
    """Return Airflow's own task instance, of the running task or of the one that waits for this trigger."""
    from airflow.sdk import get_current_context

    try:
        return get_current_context()["ti"]
    except RuntimeError:
        from secure_xcom.airflow.without_context import triggers_instance

        return triggers_instance()


# Who acts on a thread that was given work by a trigger, as found on the trigger's own thread.
_acting: ContextVar[tuple[TaskTry | None] | None] = ContextVar("secure_xcom_acting", default=None)


def for_thread() -> Context:
    """Return a context in which another thread acts as this task or trigger."""
    context = copy_context()
    if in_triggerer():
        context.run(_acting.set, (acting(),))
    return context


def acting() -> TaskTry | None:
    """Return the try that pushes or deletes now: the running task's, or one that Airflow names without a context.

    Airflow has no context while it clears a task's XComs before it runs, in callbacks and listeners of a task that
    failed before it ran, and in triggers.
    """
    told = _acting.get()
    if told is not None:
        return told[0]
    running = task()
    if running is not None and running is _task:
        return running
    from secure_xcom.airflow import without_context

    return without_context.acting(running)


def producer(coordinate: Coordinate) -> TaskTry | None:
    """Return the try that pushes. A task's own XComs have its own map index, which Airflow does not export."""
    actor = acting()
    if actor is None:
        return None
    if (actor.dag_id, actor.run_id, actor.task_id) != coordinate.of_task:
        return actor
    return replace(actor, map_index=coordinate.map_index)


def try_of(instance: Any, team: str | None) -> TaskTry:
    """Return the try of one of Airflow's task instances."""
    index = -1 if instance.map_index is None else instance.map_index
    # The bundle that the executor's workload named, and the API server's answer when the task started.
    bundle = getattr(getattr(instance, "bundle_instance", None), "name", None)
    return TaskTry(
        instance.dag_id,
        instance.run_id,
        instance.task_id,
        index,
        instance.try_number,
        bundle=bundle,
        team=team,
        attempt=_attempt_of(instance),
        iteration=iteration_of(instance),
    )


def iteration_of(instance: Any) -> int | None:
    """Return the iteration of the loop that a task instance of Airflow's is in; None outside of loops."""
    if getattr(instance, "region_id", None) is None:
        # Before Airflow 3.4 there are no loops.
        return None
    from secure_xcom.airflow import loops

    return loops.iteration_of(instance)


def _attempt_of(instance: Any) -> str | None:
    try:
        return str(UUID(str(instance.id)))
    except (AttributeError, ValueError):
        return None


def _from_environment() -> TaskTry | None:
    names = ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_DAG_RUN_ID", "AIRFLOW_CTX_TASK_ID")
    ids = [os.environ.get(name) for name in names]
    number = os.environ.get("AIRFLOW_CTX_TRY_NUMBER", "")
    if not all(ids) or not number.isdigit():
        return None
    exported = TaskTry(str(ids[0]), str(ids[1]), str(ids[2]), -1, int(number))
    # Airflow exports neither the map index nor the bundle, but the context told them while it was there.
    return _task if _task is not None and _task.same_task(exported) else exported

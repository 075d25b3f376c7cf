"""The end of a task that was given something exclusive: once Airflow has taken its success, the rest is shredded.

Airflow calls listeners in the task's own process after the success was reported, when XComs can still be written.
Ours is registered by the first exclusive pull of a process and not by the plugin: docs/adr/0005, docs/adr/0010.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from secure_xcom.airflow import task_context
from secure_xcom.claims import Claimant
from secure_xcom.claims.shred import Rows
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.pipeline.push_and_pull import Pipeline

log = logging.getLogger(__name__)

_SUCCESS = "success"


class TaskRows:
    """XComs as they are kept, through Airflow's execution API: `secure_xcom.claims.shred.Rows`.

    The API has no write on a condition. A push of the same XCom that falls between the read and the write, a few
    milliseconds, would be lost to a named error: see docs/exclusive.md.
    """

    def __init__(self, xcom: Any) -> None:
        self._xcom = xcom

    def read(self, coordinate: Coordinate) -> list[Any]:
        """See `Rows.read`. The API names no attempt: it finds the row that this task instance may see."""
        value = self._xcom.get_one(**_place(coordinate))
        return [] if value is None else [value]

    def replace(self, coordinate: Coordinate, old: object, new: object) -> bool:
        """See `Rows.replace`."""
        if self.read(coordinate) != [old]:
            return False
        self._xcom.set(value=new, **_place(coordinate))
        return True


def _place(coordinate: Coordinate) -> dict[str, Any]:
    return {
        "dag_id": coordinate.dag_id,
        "run_id": coordinate.run_id,
        "task_id": coordinate.task_id,
        "map_index": coordinate.map_index,
        "key": coordinate.key,
    }


def watch(pipeline: Callable[[], Pipeline], xcom: Any) -> None:
    """Shred at the end of this process's task, if it succeeds. Called once for each exclusive pull.

    :param pipeline: gives the process's own; :param xcom: as for `TaskRows`.
    """
    manager = _manager()
    if not any(isinstance(listener, _AtEnd) for listener in manager.pm.get_plugins()):
        manager.add_listener(_at_end(pipeline, TaskRows(xcom)))


def _manager() -> Any:
    try:
        from airflow.sdk.listener import get_listener_manager
    except ModuleNotFoundError:
        # Airflow 3.1 has one for all of its parts.
        from airflow.listeners.listener import get_listener_manager  # type: ignore[assignment]
    return get_listener_manager()


class _AtEnd:
    """The base of the listener, whose method can only be marked when Airflow is there."""


def _at_end(pipeline: Callable[[], Pipeline], rows: Rows) -> _AtEnd:
    from airflow.listeners import hookimpl

    class AtEnd(_AtEnd):
        @hookimpl
        def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ARG002
            # A process that goes on (`dag.test()`) registers anew; until then it has no listener.
            _manager().pm.unregister(self)
            finish(pipeline(), rows, task_instance)

    return AtEnd()


def finish(pipeline: Pipeline, rows: Rows, task_instance: Any) -> None:
    """Shred what the task was given, if Airflow has taken its success. Never fails a task that has succeeded.

    :param task_instance: Airflow's, of this process.
    """
    try:
        if not _succeeded(task_instance):
            log.warning("Airflow has not taken this task's success, so what it was given exclusively is kept.")
            return
        index = -1 if task_instance.map_index is None else task_instance.map_index
        claimant = Claimant(
            task_instance.dag_id,
            task_instance.run_id,
            task_instance.task_id,
            index,
            iteration=task_context.iteration_of(task_instance),
        )
        for done in pipeline.shred(rows, claimant):
            rest = "" if done.left is None else f"; its payload is left to maintenance: {done.left}"
            log.info("The data key of %s is %s%s", done.target.coordinate, done.keys, rest)
    except SecureXComError as error:
        log.warning("What this task was given exclusively is left to maintenance to shred: %s", error)
    except Exception as error:  # noqa: BLE001  # Airflow's errors of many kinds, for a task that has succeeded
        log.warning(
            "What this task was given exclusively is left to maintenance to shred: Airflow did not take it (%s)",
            type(error).__name__,
        )


def _succeeded(task_instance: Any) -> bool:
    """What Airflow's API server says: it refuses the success of a task that somebody has set to another state."""
    found = task_instance.get_task_states(
        dag_id=task_instance.dag_id,
        map_index=task_instance.map_index,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
    )
    states = [str(state) for of_run in found.values() for state in of_run.values()]
    return bool(states) and all(state.rpartition(".")[2].lower() == _SUCCESS for state in states)

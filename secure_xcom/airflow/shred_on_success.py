"""The end of a task that was given something exclusive: once Airflow has taken its success, the rest is shredded.

Airflow calls listeners in the task's own process after the success was reported, when XComs can still be written.
Ours is registered by the first exclusive pull of a process and not by the plugin: docs/adr/0005, docs/adr/0010.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from secure_xcom.airflow import task_context
from secure_xcom.claims.claimant import Claimant
from secure_xcom.claims.shred import Rows
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.pipeline.push_and_pull import Pipeline
from secure_xcom.core.reference import is_reference

log = logging.getLogger(__name__)

_SUCCESS = "success"
_RETURN_VALUE = "return_value"
"""Airflow takes a length with no other key."""


class TaskRows:
    """XComs as they are kept, through Airflow's execution API: `secure_xcom.claims.shred.Rows`.

    The API has no write on a condition. A push of the same XCom that falls between the read and the write, a few
    milliseconds, would be lost to a named error: see docs/how-to/exclusive-xcoms.md.
    """

    def __init__(self, xcom: Any) -> None:
        self._xcom = xcom
        self._lengths: dict[str, int] = {}
        self.dag: Any = None
        """The DAG of the task that shreds, once it is known."""

    def note_lengths(self, rows: Sequence[Any], values: Sequence[Any]) -> None:
        """Note how long the values of references are, which Airflow 3.4 keeps beside a value and writes with it.

        The scheduler expands mapped tasks over that length, and no answer of the API has it.
        """
        for row, value in zip(rows, values, strict=True):
            if is_reference(row) and isinstance(value, list | tuple | dict):
                self._lengths[_object_of(row)] = len(value)

    def read(self, coordinate: Coordinate) -> list[Any]:
        """See `Rows.read`. The API names no attempt: it finds the row that this task instance may see."""
        value = self._xcom.get_one(**_place(coordinate))
        return [] if value is None else [value]

    def replace(self, coordinate: Coordinate, old: object, new: object) -> bool:
        """See `Rows.replace`."""
        if self.read(coordinate) != [old]:
            return False
        length, is_result = self._beside(coordinate, old)
        if length is None and not is_result:
            self._xcom.set(value=new, **_place(coordinate))
        else:
            self._set_with(coordinate, new, length=length, is_result=is_result)
        return True

    def _beside(self, coordinate: Coordinate, old: object) -> tuple[int | None, bool]:
        """Return what Airflow 3.4 keeps beside the value, as the producer's push wrote it (task_runner.py)."""
        if coordinate.key != _RETURN_VALUE or not hasattr(self._xcom, "_make_set_message"):
            return None, False
        length = self._lengths.get(_object_of(old)) if coordinate.map_index < 0 else None
        if self.dag is None or self.dag.dag_id != coordinate.dag_id:
            # A task that is not known here may expand over it, and a length that nobody asks for harms nothing.
            return length, False
        task = self.dag.task_dict.get(coordinate.task_id)
        if task is None or next(task.iter_mapped_dependants(), None) is None:
            length = None
        return length, bool(getattr(task, "returns_dag_result", False))

    def _set_with(self, coordinate: Coordinate, value: object, *, length: int | None, is_result: bool) -> None:
        # What `XCom.set` of Airflow 3.4 does, which writes no length (airflow/sdk/bases/xcom.py).
        from airflow.sdk.bases import xcom as airflows

        xcom = self._xcom
        task = airflows.XComCoordinate(  # type: ignore[attr-defined]  # not in the Airflow of the type checks
            coordinate.dag_id, coordinate.run_id, coordinate.task_id
        )
        message = xcom._make_set_message(
            task, coordinate.map_index, coordinate.key, value, dag_result=is_result, mapped_length=length
        )
        xcom._send_set(message)


def _object_of(row: Any) -> str:
    return str(row["head"].get("object")) if is_reference(row) else ""


def _place(coordinate: Coordinate) -> dict[str, Any]:
    return {
        "dag_id": coordinate.dag_id,
        "run_id": coordinate.run_id,
        "task_id": coordinate.task_id,
        "map_index": coordinate.map_index,
        "key": coordinate.key,
    }


def watch(pipeline: Callable[[], Pipeline], xcom: Any, rows: Sequence[Any], values: Sequence[Any]) -> None:
    """Shred at the end of this process's task, if it succeeds. Called once for each exclusive pull.

    :param pipeline: gives the process's own; :param xcom: as for `TaskRows`.
    :param rows: what was pulled, and :param values: what it was.
    """
    manager = _manager()
    listener = next((each for each in manager.pm.get_plugins() if isinstance(each, _AtEnd)), None)
    if listener is None:
        listener = _at_end(pipeline, TaskRows(xcom))
        manager.add_listener(listener)
    listener.rows.note_lengths(rows, values)


def _manager() -> Any:
    try:
        from airflow.sdk.listener import get_listener_manager
    except ModuleNotFoundError:
        # Airflow 3.1 has one for all of its parts.
        from airflow.listeners.listener import get_listener_manager  # type: ignore[assignment]  # of 3.1
    return get_listener_manager()


class _AtEnd:
    """The base of the listener, whose method can only be marked when Airflow is there."""

    def __init__(self, rows: TaskRows) -> None:
        self.rows = rows


def _at_end(pipeline: Callable[[], Pipeline], rows: TaskRows) -> _AtEnd:
    from airflow.listeners import hookimpl

    class AtEnd(_AtEnd):
        @hookimpl
        # Airflow calls it with these names.
        def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ARG002  # above
            # A process that goes on (`dag.test()`) registers anew; until then it has no listener.
            _manager().pm.unregister(self)
            rows.dag = getattr(getattr(task_instance, "task", None), "dag", None)
            finish(pipeline(), rows, task_instance)

    return AtEnd(rows)


def finish(pipeline: Pipeline, rows: Rows, task_instance: Any) -> None:
    """Shred what the task was given, if Airflow has taken its success. Never fails a task that has succeeded.

    :param task_instance: Airflow's, of this process.
    """
    try:
        if not _succeeded(task_instance):
            log.warning(
                "Airflow has not accepted this task's success, so the exclusive XComs that it pulled are kept."
            )
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
        log.warning("Maintenance must shred the exclusive XComs that this task pulled: %s", error)
    except Exception as error:  # noqa: BLE001  # Airflow's errors of many kinds, for a task that has succeeded
        log.warning(
            "Maintenance must shred the exclusive XComs that this task pulled: a request to Airflow failed (%s)",
            type(error).__name__,
        )


def _succeeded(task_instance: Any) -> bool:
    """Return whether Airflow recorded the success: it refuses that of a task that was set to another state."""
    states_by_run = task_instance.get_task_states(
        dag_id=task_instance.dag_id,
        map_index=task_instance.map_index,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
    )
    states = [str(state) for of_run in states_by_run.values() for state in of_run.values()]
    return bool(states) and all(state.rpartition(".")[2].lower() == _SUCCESS for state in states)

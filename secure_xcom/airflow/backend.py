"""Airflow's door: a thin subclass of ``BaseXCom``. What happens to a value is in
`secure_xcom.core.pipeline.push_and_pull`.

Airflow's own queries are used as they are, through `_Rows`, which gives the rows unopened; so this file knows
no message of Airflow's and holds from 3.1 on.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk.bases.xcom import BaseXCom

from secure_xcom.airflow import lazy_sequence, task_context
from secure_xcom.claims import Claimant
from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry
from secure_xcom.core.errors import ReferenceRefused, SecureXComError, WriteRefused
from secure_xcom.core.per_process import PerProcess
from secure_xcom.core.reference import is_reference, parse

if TYPE_CHECKING:
    from secure_xcom.core.pipeline.push_and_pull import Pipeline, Pulled
    from secure_xcom.core.pipeline.telemetry import Telemetry

T = TypeVar("T")

# Async pulls have threads of their own: Airflow's asend() needs one of the event loop's default threads to read
# its answer, and pulls that wait for the same connection would take them all.
_threads = PerProcess(lambda: ThreadPoolExecutor(8, thread_name_prefix="secure_xcom_async"))


class _Value:
    """What BaseXCom.deserialize_value takes: anything with a value."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Rows(BaseXCom):
    """Airflow's own queries, with the rows given as they are and the values taken as they are."""

    @staticmethod
    def serialize_value(value: Any, **_: Any) -> Any:
        return value

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        return result.value


def _restored(structure: Any) -> Any:
    return BaseXCom.deserialize_value(_Value(structure))


def _new_pipeline() -> Pipeline:
    from secure_xcom.core.codecs import Codecs
    from secure_xcom.deployment import Deployment

    codecs = Codecs(BaseXCom.serialize_value, _restored)
    return Deployment.of_airflow().pipeline(codecs, telemetry=_telemetry())


def _telemetry() -> Telemetry | None:
    from secure_xcom.deployment import airflow_config

    metrics, traces = airflow_config.metrics_on(), airflow_config.traces_on()
    if not (metrics or traces):
        return None
    from secure_xcom.airflow.telemetry import telemetry

    return telemetry(metrics=metrics, traces=traces)


_pipeline = PerProcess(_new_pipeline)


def pipeline() -> Pipeline:
    """Return this process's pipeline, made from Airflow's settings when the first value passes.

    :raises ConfigurationError: the settings cannot be used.
    """
    return _pipeline.get()


class SecureXComBackend(BaseXCom):
    """Seals what tasks push and opens what they may pull; Airflow's database keeps references."""

    @staticmethod
    def serialize_value(
        value: Any,
        *,
        key: str | None = None,
        task_id: str | None = None,
        dag_id: str | None = None,
        run_id: str | None = None,
        map_index: int | None = None,
    ) -> Any:
        """Seal a value and give the reference.

        :raises SecureXComError: nothing was kept, and the task fails.
        """
        coordinate = Coordinate(
            dag_id or "", run_id or "", task_id or "", -1 if map_index is None else map_index, key or ""
        )
        return _push(value, coordinate, task_context.producer(coordinate))

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        """Open a row of which only the value is known.

        :raises SecureXComError: never a value that was not opened.
        """
        if lazy_sequence.wants_unopened():
            return result.value
        return _pull([result.value], lazy_sequence.asked())[0]

    @classmethod
    def get_one(cls, **query: Any) -> Any:
        """Pull one value; None where there is no row."""
        row = _Rows.get_one(**query)
        return None if row is None else _pull([row], _asked_one(query))[0]

    @classmethod
    async def aget_one(cls, **query: Any) -> Any:
        """`get_one` without blocking the event loop."""
        row = await _Rows.aget_one(**query)
        return None if row is None else (await _in_thread(partial(_pull, [row], _asked_one(query))))[0]

    @classmethod
    def get_all(cls, **query: Any) -> Any:
        """Pull all values of a task's map indexes, in one go; None where there is no row."""
        rows = _Rows.get_all(**query)
        return None if rows is None else _pull(rows, _asked(query), order=_order(query))

    @classmethod
    async def aget_all(cls, **query: Any) -> Any:
        """`get_all` without blocking the event loop."""
        rows = await _Rows.aget_all(**query)
        pulled = partial(_pull, rows, _asked(query), order=_order(query))
        return None if rows is None else await _in_thread(pulled)

    @classmethod
    async def aset(cls, key: str, value: Any, **place: Any) -> None:
        """Push without blocking the event loop."""
        coordinate = Coordinate(
            place["dag_id"], place["run_id"], place["task_id"], place.get("map_index", -1), key
        )
        # Who pushes shows on this thread: that of the task, or of the trigger.
        producer = task_context.producer(coordinate)
        pushing = _begin(partial(_push, value, coordinate, producer))
        try:
            sealed = await asyncio.wrap_future(pushing)
        except asyncio.CancelledError:
            # A thread cannot be stopped, so it goes on to put a payload that no row will name.
            _begin(partial(_take_back, pushing, producer))
            raise
        await _Rows.aset(key, sealed, **place)

    @classmethod
    def purge(cls, xcom: Any, *_: Any) -> None:
        """Delete the payload of a row that is being deleted.

        :raises WriteRefused: this task is of another compartment, or not known, so Airflow is not to delete the
            row either.
        """
        if not is_reference(xcom.value):
            return
        left = _purge(xcom.value, lazy_sequence.asked(), task_context.acting())
        if isinstance(left, WriteRefused):
            raise left

    @classmethod
    def delete(cls, key: str, task_id: str, dag_id: str, run_id: str, map_index: int | None = None) -> None:
        """Delete a row and its payload, holding the row's reference against the row's own coordinate."""
        with lazy_sequence.asking(Asked(dag_id, task_id, key, run_id, map_index)):
            super().delete(key, task_id, dag_id, run_id, map_index)


def _pull(rows: Sequence[Any], asked: Asked | None, *, order: int = 0) -> list[Any]:
    return [value for value, _ in _pull_each(rows, [asked] * len(rows), order)]


def _pull_each(rows: Sequence[Any], asked: Sequence[Asked | None], order: int) -> list[Pulled]:
    from secure_xcom.core.pipeline.push_and_pull import Row

    questions = [Row(row, question) for row, question in zip(rows, asked, strict=True)]
    process_pipeline = pipeline()
    consumer = task_context.task()
    pulled = process_pipeline.pull_sized(questions, consumer=consumer, claimant=_claimant(consumer), order=order)
    if process_pipeline.claimed:
        from secure_xcom.airflow.shred_on_success import watch

        watch(pipeline, _Rows)
    return pulled


def _claimant(consumer: TaskTry | None) -> Claimant | None:
    """The task instance that pulls, where its context told which one it is."""
    known = task_context.certain(consumer)
    if known is None:
        return None
    task = known.task
    return Claimant(
        task.dag_id, task.run_id, task.task_id, task.map_index, known.max_tries, known.attempt, task.iteration
    )


def _peek(row: Any) -> lazy_sequence.Peek:
    """Return what a row says of itself, before anything of it is proved."""
    try:
        reference = parse(row)
    except ReferenceRefused:
        return lazy_sequence.Peek(None)
    coordinate, exclusive = reference.head.coordinate, reference.head.exclusive is not None
    return lazy_sequence.Peek(coordinate.map_index, reference.size, exclusive, coordinate.iteration)


def _order(query: dict[str, Any]) -> int:
    """Airflow gives a task's rows by rising map index; with prior runs an index may stand there once per run."""
    return 0 if query.get("include_prior_dates") else 1


def _asked(query: dict[str, Any]) -> Asked:
    return task_context.reach(_question(query), several=True)


def _asked_one(query: dict[str, Any]) -> Asked:
    """Without a map index, Airflow's API server gives the row of the task instance that is not mapped."""
    asked = _question(query)
    one = replace(asked, map_index=-1) if asked.map_index is None else asked
    return task_context.reach(one, previous=bool(query.get("_previous_iteration")))


def _question(query: dict[str, Any]) -> Asked:
    run_id = None if query.get("include_prior_dates") else query["run_id"]
    return Asked(query["dag_id"], query["task_id"], query["key"], run_id, query.get("map_index"))


def _push(value: Any, coordinate: Coordinate, producer: TaskTry | None) -> Any:
    from secure_xcom.core.pipeline.push_and_pull import Push

    return pipeline().push([Push(coordinate, value)], producer=producer)[0]


def _purge(row: Any, asked: Asked | None, producer: TaskTry | None) -> SecureXComError | None:
    from secure_xcom.core.pipeline.push_and_pull import Row

    return pipeline().purge(Row(row, asked), producer=producer)


def _take_back(pushing: Future[Any], producer: TaskTry | None) -> None:
    """Delete the payload of a push that nobody waits for any more, once it is there. What stays is left to gc."""
    # Of a push that has not begun or that failed there is nothing.
    if not pushing.cancelled() and pushing.exception() is None:
        _purge(pushing.result(), None, producer)


def _begin(call: Callable[[], T]) -> Future[T]:
    return _threads.get().submit(contextvars.copy_context().run, call)


def _in_thread(call: Callable[[], T]) -> asyncio.Future[T]:
    return asyncio.wrap_future(_begin(call))


lazy_sequence.guard_sequences(_pull_each, _peek)

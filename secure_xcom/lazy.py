"""What Airflow's lazy sequences asked for.

A lazy sequence of mapped XComs (``LazyXComSequence``) hands ``deserialize_value`` a bare value: no key, no
coordinate. So the sequence's own ``__getitem__`` is wrapped: while it runs, rows come back unopened, and then
they are pulled together, each held against its own coordinate. Why this is a patch: docs/adr/0002.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from itertools import pairwise
from typing import Any

from secure_xcom.coordinate import Asked
from secure_xcom.errors import CoordinateMismatch

_asked: ContextVar[Asked | None] = ContextVar("secure_xcom_asked", default=None)
_unopened: ContextVar[bool] = ContextVar("secure_xcom_unopened", default=False)


def asked() -> Asked | None:
    """What is being asked for on this thread, if it is known."""
    return _asked.get()


def wants_unopened() -> bool:
    """Whether the rows that come back now are opened later, together."""
    return _unopened.get()


@contextmanager
def asking(question: Asked) -> Iterator[None]:
    """Within this block, references are held against the question."""
    token = _asked.set(question)
    try:
        yield
    finally:
        _asked.reset(token)


def guard_sequences(
    pull: Callable[[Sequence[Any], Sequence[Asked], int], list[Any]], index_of: Callable[[Any], int | None]
) -> None:
    """Wrap ``LazyXComSequence.__getitem__``, once per process.

    Airflow gives the n-th row that there is, and instances that pushed nothing have none. So before the first
    value of a sequence all its rows are looked at, unopened: in their order the map indexes that they name must
    rise, and then it is known which one the n-th has to have.

    :param pull: ``pull(rows, questions, order)`` opens rows, each held against its own question; order is 1 or
        -1 for map indexes that must rise or fall.
    :param index_of: the map index that an unopened row names; None for one that names none.
    """
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

    original = LazyXComSequence.__getitem__
    if getattr(original, "_secure_xcom", False):
        return

    def unopened(sequence: Any, key: Any) -> Any:
        token = _unopened.set(True)
        try:
            return original(sequence, key)
        finally:
            _unopened.reset(token)

    @functools.wraps(original)
    def guarded(self: Any, key: Any) -> Any:
        found = unopened(self, key)
        rows = found if isinstance(key, slice) else [found]
        source = self._xcom_arg.operator
        question = Asked(source.dag_id, source.task_id, self._xcom_arg.key, self._ti.run_id)
        wanted = _wanted(_places.get(question), key)
        if wanted != [index_of(row) for row in rows]:
            # Not looked at yet, or other rows than then: an instance may have pushed since.
            every = unopened(self, slice(None))
            places = tuple(index_of(row) for row in every)
            if not _rising(places):
                # Refused by the pipeline, which records it, before any of them is opened.
                pull(every, [question] * len(every), 1)
            if len(_places) >= _PLACES_MAX:
                _places.clear()
            _places[question] = places
            wanted = _wanted(places, key)
        if wanted is None or len(wanted) != len(rows):
            raise CoordinateMismatch("rows come and go while they are read", where=str(question))
        questions = [replace(question, map_index=index) for index in wanted]
        order = -1 if isinstance(key, slice) and (key.step or 1) < 0 else 1
        values = pull(rows, questions, order)
        return values if isinstance(key, slice) else values[0]

    guarded._secure_xcom = True  # type: ignore[attr-defined]
    LazyXComSequence.__getitem__ = guarded  # type: ignore[method-assign]


# What the rows of each sequence named when all of them were looked at; a task has few sequences.
_places: dict[Asked, tuple[int | None, ...]] = {}
_PLACES_MAX = 64


def _wanted(places: Sequence[int | None] | None, key: Any) -> list[int | None] | None:
    """The map indexes at a place or in a slice of a sequence, as a list has them."""
    if places is None:
        return None
    if isinstance(key, slice):
        return list(places[key])
    return [places[key]] if -len(places) <= key < len(places) else None


def _rising(places: Sequence[int | None]) -> bool:
    known = [index for index in places if index is not None]
    return all(earlier < later for earlier, later in pairwise(known))

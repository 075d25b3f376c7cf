"""What is being asked for where Airflow hands ``deserialize_value`` a bare value: no key, no coordinate.

A lazy sequence of mapped XComs (``LazyXComSequence``) does so. So its ``__getitem__`` is wrapped: while it runs,
rows come back unopened, and then they are pulled together. Why this is a patch: docs/adr/0002.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

from secure_xcom.core.coordinate import Asked

if TYPE_CHECKING:
    from secure_xcom.core.pipeline.push_and_pull import Pulled

Pull: TypeAlias = "Callable[[Sequence[Any], Sequence[Asked], int], list[Pulled]]"
"""``pull(rows, questions, order)`` returns the values with their decompressed sizes; order is 1 or -1 for map
indexes that must rise or fall."""

_asked: ContextVar[Asked | None] = ContextVar("secure_xcom_asked", default=None)
_unopened: ContextVar[bool] = ContextVar("secure_xcom_unopened", default=False)


def asked() -> Asked | None:
    """Return what is being asked for on this thread, if it is known."""
    return _asked.get()


def wants_unopened() -> bool:
    """Return whether the rows that come back now are opened later, together."""
    return _unopened.get()


@contextmanager
def asking(question: Asked) -> Iterator[None]:
    """Check references against the question within this block."""
    token = _asked.set(question)
    try:
        yield
    finally:
        _asked.reset(token)


@contextmanager
def unopened_rows() -> Iterator[None]:
    """Let rows come back unopened within this block."""
    token = _unopened.set(True)
    try:
        yield
    finally:
        _unopened.reset(token)


def guard_sequences(pull: Pull) -> None:
    """Wrap ``LazyXComSequence.__getitem__``, once per process."""
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

    original = LazyXComSequence.__getitem__
    if getattr(original, "_secure_xcom", False):
        return

    @functools.cache
    def read() -> Callable[[Any, Any], Any]:
        from secure_xcom.airflow.lazy_sequence import reading

        return reading(original, pull)

    @functools.wraps(original)
    def guarded(self: Any, key: Any) -> Any:
        return read()(self, key)

    guarded._secure_xcom = True  # type: ignore[attr-defined]  # a mark on a function
    LazyXComSequence.__getitem__ = guarded  # type: ignore[method-assign]  # docs/adr/0002

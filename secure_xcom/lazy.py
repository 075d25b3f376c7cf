"""What Airflow's lazy sequences asked for.

A lazy sequence of mapped XComs (``LazyXComSequence``) hands ``deserialize_value`` a bare value: no key, no
coordinate. So the sequence's own ``__getitem__`` is wrapped: while it runs, rows come back unopened, and then
they are pulled together, held against what the sequence asked for. Why this is a patch: docs/adr/0002.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from secure_xcom.coordinate import Asked

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


def guard_sequences(pull: Callable[..., list[Any]]) -> None:
    """Wrap ``LazyXComSequence.__getitem__``, once per process.

    :param pull: ``pull(rows, asked, order=...)`` opens rows; order is 1 or -1 for map indexes that must rise or
        fall, 0 for none.
    """
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

    original = LazyXComSequence.__getitem__
    if getattr(original, "_secure_xcom", False):
        return

    @functools.wraps(original)
    def guarded(self: Any, key: Any) -> Any:
        token = _unopened.set(True)
        try:
            found = original(self, key)
        finally:
            _unopened.reset(token)
        source = self._xcom_arg.operator
        many = isinstance(key, slice)
        question = Asked(
            source.dag_id,
            source.task_id,
            self._xcom_arg.key,
            self._ti.run_id,
            # Each earlier place of the sequence has a map index of its own, so the n-th has at least n.
            map_index_from=key if not many and key > 0 else 0,
        )
        if many:
            return pull(found, question, order=-1 if (key.step or 1) < 0 else 1)
        return pull([found], question)[0]

    guarded._secure_xcom = True  # type: ignore[attr-defined]
    LazyXComSequence.__getitem__ = guarded  # type: ignore[method-assign]

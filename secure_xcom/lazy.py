"""What Airflow's lazy sequences asked for.

A lazy sequence of mapped XComs (``LazyXComSequence``) hands ``deserialize_value`` a bare value: no key, no
coordinate. So the sequence's own ``__getitem__`` is wrapped: while it runs, the question stands in a context
variable, and the reference that comes back is held against it. Why this is a patch: docs/adr/0002.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from secure_xcom.coordinate import Asked

_asked: ContextVar[Asked | None] = ContextVar("secure_xcom_asked", default=None)


def asked() -> Asked | None:
    """The question that is being answered on this thread, if one is known."""
    return _asked.get()


@contextmanager
def asking(question: Asked) -> Iterator[None]:
    """Within this block, references are held against the question."""
    token = _asked.set(question)
    try:
        yield
    finally:
        _asked.reset(token)


def guard_sequences() -> None:
    """Wrap ``LazyXComSequence.__getitem__``, once per process."""
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

    original = LazyXComSequence.__getitem__
    if getattr(original, "_secure_xcom", False):
        return

    @functools.wraps(original)
    def guarded(self: Any, key: Any) -> Any:
        source = self._xcom_arg.operator
        with asking(Asked(source.dag_id, source.task_id, self._xcom_arg.key, self._ti.run_id)):
            return original(self, key)

    guarded._secure_xcom = True  # type: ignore[attr-defined]
    LazyXComSequence.__getitem__ = guarded  # type: ignore[assignment,method-assign]

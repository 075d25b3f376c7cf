"""Where a row with an XCom stands in its table, to go on after it. SQLAlchemy is not needed for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class TaskPosition(NamedTuple):
    """The primary key of a row of ``xcom`` and ``xcom_v1``, in the order in which rows are read."""

    dag_run_id: int
    task_id: str
    map_index: int
    key: str


class AttemptPosition(NamedTuple):
    """The unique key of a row of ``xcom_v2``, in the order in which rows are read.

    :ivar attempt: the UUID of the task instance.
    """

    attempt: str
    key: str


Position = TaskPosition | AttemptPosition


def position_of(parts: Sequence[Any]) -> Position:
    """Return a position that was written as JSON."""
    return TaskPosition(*parts) if len(parts) == len(TaskPosition._fields) else AttemptPosition(*parts)

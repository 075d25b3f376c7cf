"""A query: the values that fields of an event must have. Hashed ids are found with their key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from secure_xcom.sinks.hashed_ids import IdHasher


def _compared(*path: str) -> Any:
    """Declare a part of a query that is compared with this field of an event."""
    return field(default=None, metadata={"path": path})


@dataclass(frozen=True, slots=True)
class Query:
    """Conditions that must all hold; None means any value. Times are text as in events.

    :ivar dag: the DAG of the XCom's own coordinate, as are the six parts after it.
    :ivar consumer: the DAG of the task that pulled.
    :ivar since: the earliest time; :ivar until: the time before which an event must lie.
    """

    dag: str | None = _compared("producer", "dag_id")
    run: str | None = _compared("producer", "run_id")
    task: str | None = _compared("producer", "task_id")
    map_index: int | None = _compared("producer", "map_index")
    attempt: str | None = _compared("producer", "attempt")
    iteration: int | None = _compared("producer", "iteration")
    key: str | None = _compared("producer", "key")
    compartment: str | None = _compared("compartment")
    consumer: str | None = _compared("consumer", "dag_id")
    consumer_run: str | None = _compared("consumer", "run_id")
    consumer_task: str | None = _compared("consumer", "task_id")
    action: str | None = _compared("action")
    outcome: str | None = _compared("outcome")
    error: str | None = _compared("error")
    host: str | None = _compared("host")
    operator: str | None = _compared("operator")
    event: str | None = _compared("id")
    chain: str | None = _compared("chain")
    since: str | None = None
    until: str | None = None

    def wanted(self, hasher: IdHasher | None = None) -> dict[tuple[str, ...], tuple[str | int, ...]]:
        """Return path of a field -> its accepted values, without the times."""
        accepted: dict[tuple[str, ...], tuple[str | int, ...]] = {}
        for part in fields(self):
            value, path = getattr(self, part.name), part.metadata.get("path")
            if value is not None and path:
                hashed = (hasher.hash(path[-1], value),) if hasher and isinstance(value, str) else ()
                accepted[path] = (value, *hashed)
        return accepted


PATHS: tuple[tuple[str, ...], ...] = tuple(
    part.metadata["path"] for part in fields(Query) if "path" in part.metadata
)
"""The fields of an event that a query can compare."""


class Matcher:
    """Compare single events with a query, as `tail` does."""

    def __init__(self, query: Query, hasher: IdHasher | None = None) -> None:
        self._wanted = query.wanted(hasher)
        self._since = query.since or ""
        self._until = query.until or "~"

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Check whether an event matches the query."""
        time = record.get("time")
        if not isinstance(time, str) or not self._since <= time < self._until:
            return False
        return all(field_of(record, path) in values for path, values in self._wanted.items())


def field_of(record: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return a field that a query can compare; None where the event has none."""
    value: Any = record
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    # A query holds text and whole numbers only; a list or an object cannot be hashed for the comparison.
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None

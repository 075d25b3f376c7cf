"""What is searched for: fields of events that must be as given; ids behind a keyed hash are found with the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from secure_xcom.core.hashed_ids import IdHasher


@dataclass(frozen=True, slots=True)
class Query:
    """All that is given must hold; what is None is anything. Times are texts as in events.

    :ivar dag: and the four after it are the XCom's own coordinate; a task that pushed or purged is that as well.
    :ivar consumer: the DAG of the task that pulled, :ivar consumer_task: and its task.
    :ivar since: events of this time or later, :ivar until: events before this time.
    """

    dag: str | None = None
    run: str | None = None
    task: str | None = None
    map_index: int | None = None
    key: str | None = None
    compartment: str | None = None
    consumer: str | None = None
    consumer_run: str | None = None
    consumer_task: str | None = None
    action: str | None = None
    outcome: str | None = None
    error: str | None = None
    host: str | None = None
    operator: str | None = None
    event: str | None = None
    chain: str | None = None
    since: str | None = None
    until: str | None = None

    def wanted(self, hasher: IdHasher | None = None) -> dict[tuple[str, ...], tuple[str | int, ...]]:
        """Path of a field -> the values that it may have; times are not among them."""
        found: dict[tuple[str, ...], tuple[str | int, ...]] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and one.name in PATHS:
                path = PATHS[one.name]
                hashed = (hasher.hash(path[-1], value),) if hasher and isinstance(value, str) else ()
                found[path] = (value, *hashed)
        return found


PATHS: dict[str, tuple[str, ...]] = {
    "dag": ("producer", "dag_id"),
    "run": ("producer", "run_id"),
    "task": ("producer", "task_id"),
    "map_index": ("producer", "map_index"),
    "key": ("producer", "key"),
    "compartment": ("compartment",),
    "consumer": ("consumer", "dag_id"),
    "consumer_run": ("consumer", "run_id"),
    "consumer_task": ("consumer", "task_id"),
    "action": ("action",),
    "outcome": ("outcome",),
    "error": ("error",),
    "host": ("host",),
    "operator": ("operator",),
    "event": ("id",),
    "chain": ("chain",),
}
"""Which field of an event each part of a query is about."""


class Matcher:
    """A query against single events, as `tail` meets them."""

    def __init__(self, query: Query, hasher: IdHasher | None = None) -> None:
        self._wanted = query.wanted(hasher)
        self._since = query.since or ""
        self._until = query.until or "~"

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Whether an event is searched for."""
        time = record.get("time")
        if not isinstance(time, str) or not self._since <= time < self._until:
            return False
        return all(_field(record, path) in values for path, values in self._wanted.items())


def _field(record: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = record
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    # A list or an object is no value of a query, and cannot be looked for in one.
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None

"""Events of the access log that are about one XCom."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from secure_xcom.core.coordinate import Coordinate
from secure_xcom.ops.audit_trail.entries import event_of

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for: events about an XCom, not older than a time."""

    at: Coordinate
    since: str

    @classmethod
    def of(cls, coordinate: Coordinate, since: datetime) -> Search:
        """Return the search for an XCom's events from a time on (UTC)."""
        return cls(coordinate, since.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0"))

    @property
    def needles(self) -> tuple[bytes, ...]:
        """The bytes that every line about this XCom has: lines are canonical JSON."""
        return tuple(json.dumps(text, ensure_ascii=False).encode() for text in (self.at.run_id, self.at.key))

    def event(self, line: bytes) -> Event | None:
        """Return the event of a line, None where it is none or about something else."""
        if not all(needle in line for needle in self.needles):
            return None
        record = event_of(line)
        return record if record is not None and self._takes(record) else None

    def _takes(self, record: Event) -> bool:
        time = record.get("time")
        if not isinstance(time, str) or time < self.since:
            return False
        # A pull that meets plaintext knows only what was asked for.
        named = record.get("producer") or record.get("asked")
        return isinstance(named, Mapping) and all(
            named.get(name) == getattr(self.at, name)
            for name in ("dag_id", "run_id", "task_id", "map_index", "key")
        )


@dataclass(frozen=True, slots=True)
class Found:
    """Events newest first, where the next answer goes on, and how far was looked."""

    events: list[Event]
    next: str | None
    bytes: int
    back_to: str | None

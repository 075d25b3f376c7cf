"""One event of the access log, as the code that records it sees it.

`secure_xcom.core.event_fields` declares the written fields; docs/reference/access-log.md describes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry

VERSION = 1
"""The version of the event format. Fields may be added; none is renamed, dropped or given another meaning."""

Action = Literal[
    "push", "pull", "purge", "claim", "expire", "rewrap", "open", "reveal", "policy_change", "plaintext_seen",
    "chain_end",
]  # fmt: skip
Outcome = Literal["ok", "refused", "failed"]

# In these events the task received or was refused a value, so it is the consumer.
_BY_CONSUMER = ("pull", "plaintext_seen", "claim")

_COORDINATE = tuple(entry.name for entry in fields(Coordinate) if entry.name != "attempt")
_TRY = tuple(entry.name for entry in fields(TaskTry))


class KeyUse(NamedTuple):
    """A wrapping key that wrapped a data key: its URI, and its version where the service numbers versions."""

    uri: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to one XCom: ids only. No field can hold a value, a data key, a wrapped key or a preview.

    Each attribute is the written field of the same name, except these three:

    :ivar coordinate: written as ``producer``; None where it could not be read.
    :ivar task: written as ``consumer`` for an action that gives out a value, else as ``task``.
    :ivar missed: sink URI -> number of events that the sink missed.
    """

    action: Action
    outcome: Outcome
    coordinate: Coordinate | None = None
    task: TaskTry | None = None
    asked: Asked | None = None
    compartment: str | None = None
    rule: str | None = None
    error: str | None = None
    keys: tuple[KeyUse, ...] = ()
    opened_by: str | None = None
    object: str | None = None
    size: int | None = None
    codec: str | None = None
    cache_hit: bool | None = None
    policy: str | None = None
    policy_before: str | None = None
    operator: str | None = None
    reason: str | None = None
    sensitive: bool | None = None
    missed: Mapping[str, int] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """Return the fields that describe the event itself, as JSON; fields without a value are left out."""
        record = {name: getattr(self, name) for name in _SAME_NAME}
        record["producer"] = self._producer()
        record["consumer" if self.action in _BY_CONSUMER else "task"] = _object(self.task, _TRY)
        record["asked"] = _object(self.asked, (*_COORDINATE, "attempt", "iteration"))
        record["keys"] = [_present(key._asdict()) for key in self.keys] or None
        record["missed"] = [{"sink": uri, "events": count} for uri, count in self.missed.items()] or None
        return _present(record)

    def _producer(self) -> dict[str, Any] | None:
        producer = _object(self.coordinate, _COORDINATE)
        if producer is None or self.coordinate is None or self.coordinate.attempt is None:
            return producer
        told = {"attempt": self.coordinate.attempt.task_instance_id, "iteration": self.coordinate.iteration}
        return {**producer, **_present(told)}


_SAME_NAME = tuple(
    entry.name for entry in fields(Event) if entry.name not in ("coordinate", "task", "asked", "keys", "missed")
)


class Line(NamedTuple):
    """One event as it is written: the JSON object, and its canonical bytes without a newline."""

    record: dict[str, Any]
    data: bytes


def _object(ids: Coordinate | Asked | TaskTry | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    return None if ids is None else _present({name: getattr(ids, name) for name in names})


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}

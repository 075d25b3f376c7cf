"""One event of the access log: its fields, and the canonical line that holds it. The table is docs/audit.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry

VERSION = 1
"""The version of the event's shape. Fields are added; none is renamed, dropped or given another meaning."""

Action = Literal[
    "push", "pull", "purge", "claim", "expire", "rewrap", "open", "policy_change", "plaintext_seen", "chain_end"
]
Outcome = Literal["ok", "refused", "failed"]

# Whose try of a task an event names: in these the one that was given, or refused, a value.
_BY_CONSUMER = ("pull", "plaintext_seen", "claim")

_PLACE = tuple(entry.name for entry in fields(Coordinate))
_TASK = tuple(entry.name for entry in fields(TaskTry))


class KeyUse(NamedTuple):
    """A wrapping key that wrapped a data key: its URI, and its version where the service has numbered ones."""

    uri: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to one XCom. Ids only: there is no field for a value, a data key, a wrapped key or a preview.

    :ivar coordinate: the XCom's own (the producer's) coordinate; None where it could not be read.
    :ivar task: the task instance's try that did it, where Airflow says which it is.
    :ivar asked: what was asked of Airflow's database, where the coordinate alone does not say it.
    :ivar error: the class of our error tree, for an outcome that is not ok.
    :ivar rule: which rule of the access policy let a push, a pull or a purge pass or refused it
        (`secure_xcom.core.access_policy.deciding`).
    :ivar keys: the keys of the reference; ``opened_by`` is the URI of the one that opened it.
    :ivar size: the sealed payload's size in bytes.
    :ivar cache_hit: whether the data key was in this process's memory, so that no key service was asked.
    :ivar policy: the digest of the access policy; ``policy_before`` the one before it, for a policy_change.
    :ivar operator: who did it by hand, and ``reason`` what for, as the command was told.
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
    missed: Mapping[str, int] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """What the event itself says, as JSON; fields without a value are left out."""
        role = "consumer" if self.action in _BY_CONSUMER else "task"
        fields: dict[str, Any] = {
            "action": self.action,
            "outcome": self.outcome,
            "error": self.error,
            "producer": None if self.coordinate is None else _named(self.coordinate, _PLACE),
            role: None if self.task is None else _named(self.task, _TASK),
            "asked": None if self.asked is None else _named(self.asked, _PLACE),
            "compartment": self.compartment,
            "rule": self.rule,
            "keys": [_known(key._asdict()) for key in self.keys] or None,
            "opened_by": self.opened_by,
            "object": self.object,
            "size": self.size,
            "codec": self.codec,
            "cache_hit": self.cache_hit,
            "policy": self.policy,
            "policy_before": self.policy_before,
            "operator": self.operator,
            "reason": self.reason,
            "missed": [{"sink": uri, "events": count} for uri, count in self.missed.items()] or None,
        }
        return _known(fields)


class Line(NamedTuple):
    """One event as it is written: the JSON object, and its canonical bytes without a newline."""

    record: dict[str, Any]
    data: bytes


def _named(thing: Coordinate | Asked | TaskTry, names: tuple[str, ...]) -> dict[str, Any]:
    return _known({name: getattr(thing, name) for name in names})


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}

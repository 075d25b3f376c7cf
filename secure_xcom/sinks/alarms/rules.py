"""Alarms that a single event raises. Rules over many events: `secure_xcom.ops.audit_trail.alarm_windows`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from secure_xcom.core.access_policy.alarms import Alarm
from secure_xcom.core.event_text import by, xcom


@dataclass(frozen=True, slots=True)
class Raised:
    """One alarm that was raised.

    :ivar text: what happened, for people; ids only. :ivar events: ids of events, ten at most.
    """

    alarm: str
    when: str
    time: str
    text: str
    events: tuple[str, ...] = ()
    compartment: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object for webhooks and callbacks."""
        return {"secure_xcom_alarm": 1, **asdict(self), "events": list(self.events)}


def single(alarm: Alarm, record: Mapping[str, Any]) -> Iterator[Raised]:
    """Return the alarm of a rule that a single event decides."""
    if alarm.when == "second_claim" and record.get("action") == "claim" and record.get("outcome") == "refused":
        yield raised(
            alarm, record, f"{xcom(record)} was claimed already, and {by(record) or 'somebody'} tried again"
        )
    if alarm.when == "plaintext_seen" and record.get("action") == "plaintext_seen":
        yield raised(alarm, record, f"{by(record) or 'somebody'} read {xcom(record)}, which has no reference")
    if alarm.when == "sensitive_reveal" and is_reveal(record) and record.get("sensitive"):
        yield raised(alarm, record, f"{by(record) or 'somebody'} revealed {xcom(record)}, which holds a secret")


def is_reveal(record: Mapping[str, Any]) -> bool:
    """Return whether a person was given a value."""
    return record.get("action") == "reveal" and record.get("outcome") == "ok"


def raised(alarm: Alarm, record: Mapping[str, Any], text: str) -> Raised:
    """Return the alarm of one event."""
    compartment = record.get("compartment")
    return Raised(alarm.name, alarm.when, str(record.get("time")), text, (str(record.get("id")),), compartment)

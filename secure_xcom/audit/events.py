"""One event of the access log, and its line."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Literal

import uuid6

from secure_xcom.coordinate import Coordinate, TaskTry

SCHEMA = 1
"""The version of the event's shape. Fields are added, never renamed or dropped."""

Action = Literal["push", "pull", "purge", "plaintext"]
Outcome = Literal["ok", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to one XCom.

    :ivar coordinate: the XCom's own (the producer's) coordinate; None where it could not be read.
    :ivar task: the task instance's try that did it, where Airflow says which it is: recorded as the producer
        of a push or purge, as the consumer of a pull.
    :ivar error: the class of our error tree, for an outcome that is not ok.
    :ivar rule: which rule of the access policy let a pull pass or refused it (`secure_xcom.access.verdict`).
    :ivar keys: the key URIs of the reference; ``opened_with`` is the one that opened it.
    :ivar size: the sealed payload's size in bytes.
    """

    action: Action
    outcome: Outcome
    coordinate: Coordinate | None = None
    task: TaskTry | None = None
    compartment: str | None = None
    rule: str | None = None
    error: str | None = None
    keys: tuple[str, ...] = ()
    opened_with: str | None = None
    object: str | None = None
    size: int | None = None
    codec: str | None = None
    key_cached: bool | None = None
    policy: str | None = None

    def record(self, version: str) -> dict[str, Any]:
        """The event as a JSON object; fields without a value are left out."""
        role = "producer" if self.action in ("push", "purge") else "consumer"
        fields: dict[str, Any] = {
            "schema": SCHEMA,
            "id": str(uuid6.uuid7()),
            "time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "action": self.action,
            "outcome": self.outcome,
            "error": self.error,
            "xcom": None if self.coordinate is None else asdict(self.coordinate),
            role: None if self.task is None else asdict(self.task),
            "compartment": self.compartment,
            "rule": self.rule,
            "keys": list(self.keys) or None,
            "opened_with": self.opened_with,
            "object": self.object,
            "size": self.size,
            "codec": self.codec,
            "key_cached": self.key_cached,
            "policy": self.policy,
            "host": _host(),
            "pid": os.getpid(),
            "version": version,
        }
        return {name: value for name, value in fields.items() if value is not None}


def line(record: dict[str, Any]) -> bytes:
    """A record as one line of JSON Lines. ASCII only, so no id can break or forge a line."""
    return json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


@lru_cache(maxsize=1)
def _host() -> str:
    return socket.gethostname()

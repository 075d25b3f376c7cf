"""The hash chain of one process: each event carries the hash of the event before it.

An event that was edited, removed, inserted or moved breaks the chain at a known place. A chain ends with a
``chain_end`` event. A chain without one was interrupted (the process was killed, or lost its sinks), or was cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import uuid6

from secure_xcom.core.canonical_json import canonical_json
from secure_xcom.core.event import Line

FIRST = "0" * 64
"""The ``previous`` of the first event of a chain."""

QUIET_SECONDS = 300
"""How old the events of a chain without an end must be before they are anchored, and before the chain counts as
interrupted."""


class Chain:
    """Number events from 0 and bind each event to the one before it.

    :param id: a UUIDv7, new for each chain; given only to reproduce a known chain.
    """

    def __init__(self, id: str | None = None) -> None:  # noqa: A002  # the name of the event's field
        self.id = id or str(uuid6.uuid7())
        self.length = 0
        self.ended = False
        self._previous = FIRST

    def add(self, record: Mapping[str, Any]) -> Line:
        """Return the event as the next line of this chain.

        ``previous`` is the SHA-256, in lowercase hexadecimal, of the previous line's bytes without its newline.
        """
        chained = {**record, "chain": self.id, "sequence": self.length, "previous": self._previous}
        data = canonical_json(chained)
        self._previous = hashlib.sha256(data).hexdigest()
        self.length += 1
        self.ended = record["action"] == "chain_end"
        return Line(chained, data)

"""The hash chain of one process: each event carries the hash of the one before it.

An event that was edited, removed, inserted or put elsewhere breaks the chain at a known place. A chain ends with a
``chain_end`` event; one without was interrupted (the process was killed, or lost its sinks), or cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import uuid6

from secure_xcom.core.coordinate import canonical_json
from secure_xcom.core.event import Line

FIRST = "0" * 64
"""What the first event of a chain has as ``previous``: there is none before it."""


class Chain:
    """Numbers events from 0 and binds each to the one before.

    :param id: a UUIDv7, new for every chain; given only to make a known chain again.
    """

    def __init__(self, id: str | None = None) -> None:  # noqa: A002  # the field's own name
        self.id = id or str(uuid6.uuid7())
        self.length = 0
        self.ended = False
        self._previous = FIRST

    def add(self, record: Mapping[str, Any]) -> Line:
        """The event as the next line of this chain.

        ``previous`` is the SHA-256, in lowercase hexadecimal, of the previous line's bytes without its newline.
        """
        whole = {**record, "chain": self.id, "sequence": self.length, "previous": self._previous}
        data = canonical_json(whole)
        self._previous = hashlib.sha256(data).hexdigest()
        self.length += 1
        self.ended = record["action"] == "chain_end"
        return Line(whole, data)

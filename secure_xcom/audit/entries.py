"""What a line says of its place in a chain, for whoever checks lines that somebody may have changed."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple

_CHAIN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_HASH = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
# The first name of every canonical event, in the order of RFC 8785.
_BEGINNING = b'{"action":"'


class Entry(NamedTuple):
    """The fields of an event that its chain and its sealing go by, and the hash of its line."""

    chain: str
    sequence: int
    previous: str
    hash: str
    time: str
    ends: bool


def read(data: bytes) -> Entry | None:
    """The entry of a line, or None where the line is no event."""
    record = record_of(data)
    if record is None:
        return None
    chain, sequence = record.get("chain"), record.get("sequence")
    previous, time = record.get("previous"), record.get("time")
    if (
        not isinstance(chain, str)
        or not _CHAIN.fullmatch(chain)
        or type(sequence) is not int
        or sequence < 0
        or not isinstance(previous, str)
        or not _HASH.fullmatch(previous)
        or not isinstance(time, str)
        or not _TIME.fullmatch(time)
    ):
        return None
    ends = record.get("action") == "chain_end"
    return Entry(chain, sequence, previous, hashlib.sha256(data).hexdigest(), time, ends)


def record_of(data: bytes) -> dict[str, Any] | None:
    """The event as JSON, or None where the line is none."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def is_half_written(data: bytes) -> bool:
    """Whether the line looks like the beginning of an event whose process was killed while it wrote."""
    beginning = data[: len(_BEGINNING)]
    return _BEGINNING.startswith(beginning) and not data.endswith(b"}")


def begun(chain: str) -> str:
    """When a chain was begun, from its UUIDv7 (RFC 9562, section 5.7), to the millisecond."""
    from datetime import datetime, timezone

    milliseconds = int(chain[:8] + chain[9:13], 16)
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    except (ValueError, OverflowError):
        return "9999"
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

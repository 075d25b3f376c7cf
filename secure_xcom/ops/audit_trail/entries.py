"""Strict reading of single lines, which anybody may have changed: the event, and its place in its chain."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime, timezone
from typing import Any, NamedTuple

from secure_xcom.core import event_fields
from secure_xcom.core.clock import text_of

_CHAIN = re.compile(event_fields.UUID7)
_HASH = re.compile(event_fields.HASH)
_TIME = re.compile(event_fields.TIME)
# Every canonical event begins with its first name in the order of RFC 8785.
_BEGINNING = b'{"action":"'


class Entry(NamedTuple):
    """The fields of an event that its chain and its anchoring depend on, and the hash of its line."""

    chain: str
    sequence: int
    previous: str
    hash: str
    time: str
    ends: bool


def read(data: bytes) -> Entry | None:
    """Return the entry of a line, or None where the line is not an event."""
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
    """Return the line's JSON object, or None where it holds none."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


_TYPES = {name: event_fields.python_type(field.schema) for name, field in event_fields.FIELDS.items()}


def event_of(data: bytes) -> dict[str, Any] | None:
    """Return the event of a line, or None where the line is not JSON or a known field has another type.

    Otherwise anybody who can write a line could stop every search, export and alarm that reads it.
    """
    record = record_of(data)
    if record is None or not _has_type(record, _TYPES):
        return None
    # Half of a surrogate pair is valid JSON but not text: it could not be written out again.
    return record if b"\\u" not in data or _is_text(record) else None


def _has_type(value: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return isinstance(value, dict) and all(
            _has_type(value[name], part) for name, part in expected.items() if name in value
        )
    if isinstance(expected, list):
        return isinstance(value, list) and all(_has_type(item, expected[0]) for item in value)
    return type(value) is expected and (expected is not int or -(1 << 63) <= value < 1 << 63)


def _is_text(record: dict[str, Any]) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_half_written(data: bytes) -> bool:
    """Check whether a line looks like the start of an event whose process was killed while it wrote."""
    beginning = data[: len(_BEGINNING)]
    return _BEGINNING.startswith(beginning) and not data.endswith(b"}")


def begun(chain: str) -> str:
    """Return when a chain was begun, to the millisecond, from its UUIDv7 (RFC 9562, section 5.7)."""
    milliseconds = int(chain[:8] + chain[9:13], 16)
    try:
        return text_of(datetime.fromtimestamp(milliseconds / 1000, timezone.utc))
    except (ValueError, OverflowError):
        return "9999"

"""Strict reading of single lines, which anybody may have changed: the event, and its place in its chain."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime, timezone
from typing import Any

import msgspec

from secure_xcom.core import event_fields
from secure_xcom.core.clock import text_of

# The texts of an entry, in one pattern because three take twice as long.
_LINK = re.compile(f"{event_fields.UUID7} {event_fields.HASH} {event_fields.TIME}")
# Every canonical event begins with its first name in the order of RFC 8785.
_BEGINNING = b'{"action":"'


class Entry(msgspec.Struct, gc=False):
    """The fields of an event that its chain and its anchoring depend on, and the hash of its line.

    Decoding skips the other fields, which takes a twentieth of the time of `json`.
    """

    chain: str
    sequence: int
    previous: str
    time: str
    action: str = ""
    hash: str = ""

    @property
    def ends(self) -> bool:
        """Return whether it is the last event of its chain."""
        return self.action == "chain_end"


_decode = msgspec.json.Decoder(Entry).decode
# `json` reads no longer number than this (sys.int_info.default_max_str_digits), but msgspec skips any.
DECODED_MAX_BYTES = 4300


def read(data: bytes) -> Entry | None:
    """Return the entry of a line, or None where the line is not an event."""
    entry: Entry | None
    # msgspec does not look into strings that it skips, so only ASCII is surely what `json` would read.
    if data.isascii() and len(data) <= DECODED_MAX_BYTES:
        try:
            entry = _decode(data)
        except (msgspec.DecodeError, RecursionError):
            # `json` reads more than msgspec does, such as NaN, and then decides.
            entry = _read_slowly(data)
    else:
        entry = _read_slowly(data)
    if entry is None or entry.sequence < 0 or not _LINK.fullmatch(f"{entry.chain} {entry.previous} {entry.time}"):
        return None
    entry.hash = hashlib.sha256(data).hexdigest()
    return entry


def _read_slowly(data: bytes) -> Entry | None:
    record = record_of(data)
    if record is None:
        return None
    chain, sequence = record.get("chain"), record.get("sequence")
    previous, time, action = record.get("previous"), record.get("time"), record.get("action")
    if (
        not isinstance(chain, str)
        or type(sequence) is not int
        or not isinstance(previous, str)
        or not isinstance(time, str)
    ):
        return None
    return Entry(chain, sequence, previous, time, action if isinstance(action, str) else "")


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

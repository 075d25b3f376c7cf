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


_TASK = {"dag_id": str, "run_id": str, "task_id": str, "map_index": int, "key": str, "try_number": int}
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("id", "time", "action", "outcome", "host", "release", "chain", "previous"), str),
    **dict.fromkeys(("error", "compartment", "rule", "opened_by", "object", "codec", "operator", "reason"), str),
    **dict.fromkeys(("policy", "policy_before"), str),
    **dict.fromkeys(("version", "pid", "sequence", "size"), int),
    **dict.fromkeys(("producer", "consumer", "task", "asked"), _TASK),
    "cache_hit": bool,
    "keys": [{"uri": str, "version": int}],
    "missed": [{"sink": str, "events": int}],
}


def event_of(data: bytes) -> dict[str, Any] | None:
    """The event of a line, or None where the line is none: not JSON, or with a known field of another kind.

    Whoever can write a line could otherwise stop every search, export and alarm behind it.
    """
    record = record_of(data)
    if record is None or not _fits(record, _KINDS):
        return None
    # Half of a character beyond the basic plane is JSON and no text: nothing could write it out again.
    return record if b"\\u" not in data or _is_text(record) else None


def _fits(found: Any, kind: Any) -> bool:
    if isinstance(kind, dict):
        return isinstance(found, dict) and all(
            _fits(found[name], one) for name, one in kind.items() if name in found
        )
    if isinstance(kind, list):
        return isinstance(found, list) and all(_fits(one, kind[0]) for one in found)
    return type(found) is kind and (kind is not int or -(1 << 63) <= found < 1 << 63)


def _is_text(record: dict[str, Any]) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


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

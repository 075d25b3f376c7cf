"""Parse the usual reference in half the time of `secure_xcom.core.reference.parse`, which decides on all others.

Maintenance reads millions. What is returned here is what `parse` would return: every rule that a reference may
break is checked, and wherever one could be broken, `parse` is asked and names it.
"""

from __future__ import annotations

import binascii
from functools import lru_cache
from typing import Any

import msgspec

from secure_xcom.core.coordinate import ID_MAX_CHARACTERS, KEY_MAX_CHARACTERS
from secure_xcom.core.reference import (
    HEAD_OPTIONAL,
    HEAD_REQUIRED,
    HEADER_BYTES,
    KEYS_MAX,
    LARGEST_BYTES,
    MAP_INDEX,
    NAME,
    SMALLEST_BYTES,
    URI_MAX_CHARACTERS,
    VERSION,
    Head,
    Reference,
    WrappedKey,
    is_time,
)

_TEXT_MAX_CHARACTERS = 4096
"""Below the cap of every field but a key's URI, and of the digits of a number that `json` reads."""
_LEVELS_MAX = 60
_HEAD_FIELDS = HEAD_REQUIRED | HEAD_OPTIONAL
_ATTEMPT = frozenset({"attempt", "region", "region_index", "iteration"})


class _Key(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    uri: str
    wrapped: str


class _Seal(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    header: str
    # Typed, 72.0 would be taken for 72.
    size: Any


class _Record(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    secure_xcom: Any
    head: dict[str, str]
    keys: list[_Key]
    seal: _Seal
    # Decoded, so that it is JSON and not only looks like it.
    preview: Any = None


_decode = msgspec.json.Decoder(_Record).decode


def usual_reference(text: str) -> Reference | None:
    """Return the reference in the text of a row, or None where only `parse` can tell.

    References of branching tasks, inline payloads, shredded XComs and attempts are left to it as well.
    """
    if len(text) > _TEXT_MAX_CHARACTERS or not text.isascii() or "\\u0000" in text:
        return None
    if text.count("{") + text.count("[") > _LEVELS_MAX:
        return None
    try:
        record = _decode(text)
        head = record.head
        header = binascii.a2b_base64(record.seal.header)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    keys = [WrappedKey(key.uri, key.wrapped) for key in record.keys if key.wrapped and _is_uri(key.uri)]
    size = record.seal.size
    if not (
        type(record.secure_xcom) is int
        and record.secure_xcom == VERSION
        and 1 <= len(keys) <= KEYS_MAX
        and len(keys) == len(record.keys)
        and len(header) == HEADER_BYTES
        and binascii.b2a_base64(header, newline=False).decode() == record.seal.header
        and type(size) is int
        and SMALLEST_BYTES <= size <= LARGEST_BYTES
        and _is_usual(head)
    ):
        return None
    return Reference(Head(**head), tuple(keys), header, size)


def _is_usual(head: dict[str, str]) -> bool:
    names = head.keys()
    return (
        names >= HEAD_REQUIRED
        and names <= _HEAD_FIELDS
        and names.isdisjoint(_ATTEMPT)
        and "object" in names
        and "" not in head.values()
        and MAP_INDEX.fullmatch(head["map_index"]) is not None
        and _is_time(head["created"])
        and ("expires" not in names or _is_time(head["expires"]))
        and _is_name(head["codec"])
        and _is_name(head["compression"])
        and max(len(head["dag_id"]), len(head["run_id"]), len(head["task_id"])) <= ID_MAX_CHARACTERS
        and len(head["key"]) <= KEY_MAX_CHARACTERS
    )


# Neighboring rows are of the same keys, codecs and minutes.
_is_time = lru_cache(maxsize=1024)(is_time)


@lru_cache(maxsize=256)
def _is_uri(text: str) -> bool:
    return 0 < len(text) <= URI_MAX_CHARACTERS


@lru_cache(maxsize=256)
def _is_name(text: str) -> bool:
    return NAME.fullmatch(text) is not None

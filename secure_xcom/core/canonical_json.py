"""Canonical JSON (RFC 8785): the bytes that heads, claims, encryption contexts and events are bound by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

_FAST = msgspec.json.Encoder(order="sorted")
_ANY_STR = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(record: Mapping[str, Any]) -> bytes:
    """Return a record as canonical JSON (RFC 8785).

    Our records hold text, whole numbers, booleans, lists and objects. For these msgspec writes what the RFC asks
    for, sixty times faster than the library `rfc8785`; tests compare the two. A newline is always escaped, so no
    id can break or forge a line.

    :raises UnicodeEncodeError: a text holds a lone surrogate.
    """
    try:
        data = _FAST.encode(record)
    except TypeError:
        # An id of a subclass of str, as enumerations are, is written as the text that it is.
        data = _ANY_STR.encode(record).encode()
    if not data.isascii() and max(data.decode()) >= "\ue000":
        # Beyond here the order of code points is not that of UTF-16's units, by which the RFC sorts names.
        data = _AS_IT_STANDS.encode(_by_utf_16(record)).encode()
    return data


_AS_IT_STANDS = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _by_utf_16(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _by_utf_16(value[name]) for name in sorted(value, key=lambda name: name.encode("utf-16-be"))}
    return [_by_utf_16(item) for item in value] if isinstance(value, list) else value

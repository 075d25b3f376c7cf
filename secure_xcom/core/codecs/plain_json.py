"""Plain values: what Airflow's serialization would only copy.

They are looked through, and turned into JSON and back, at the speed of C: every push and pull waits for it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec

_KINDS = frozenset({str, int, float, bool, type(None), dict, list})
# Airflow's serialization ends at a depth of its own, and names the value; so this is the depth of what skips it.
_DEPTH_MAX = 32
# A level of fewer containers, or with fewer parts below it, costs no memory that matters.
_CHECK_FROM, _PARTS_UNCHECKED = 100, 1_000_000
# Looking through rows field by field pays from so many on, and for no more at once than a cache holds.
_ROWS_MIN, _ROWS_MAX = 16, 256


@dataclass(frozen=True, slots=True)
class Parts:
    """What a plain value is made of, in no order.

    :ivar names: every key of every dict.
    :ivar texts: every string that is a value.
    :ivar floats: every float.
    """

    names: set[str] = field(default_factory=set, repr=False)
    texts: list[str] = field(default_factory=list, repr=False)
    dicts: list[dict[str, Any]] = field(default_factory=list, repr=False)
    lists: list[list[Any]] = field(default_factory=list, repr=False)
    floats: list[float] = field(default_factory=list, repr=False)


def plain_parts(value: object, *, decoded: bool = False) -> Parts | None:
    """Return the parts of a value of JSON's own types; None where it has other types, or is too deep.

    None, too, for keys with two leading underscores, to which Airflow's serialization gives a meaning.

    :param decoded: JSON was decoded to it, so that every key is a plain string.
    """
    parts = Parts()
    into: dict[type, list[Any]] = {str: parts.texts, float: parts.floats, dict: parts.dicts, list: parts.lists}
    columns: list[Collection[Any]] = [(value,)]
    # A level at a time, and no work in Python for a single part of it.
    for _ in range(_DEPTH_MAX):
        above = len(parts.dicts), len(parts.lists)
        for column in columns:
            kinds = set(map(type, column))
            if not kinds <= _KINDS:
                return None
            for kind in kinds.intersection(into):
                into[kind] += column if len(kinds) == 1 else [node for node in column if type(node) is kind]
        dicts, lists = parts.dicts[above[0] :], parts.lists[above[1] :]
        if not dicts and not lists:
            return None if any(name.startswith("__") for name in parts.names) else parts
        if len(dicts) + len(lists) > _CHECK_FROM and sum(map(len, chain(dicts, lists))) >= _PARTS_UNCHECKED:
            from secure_xcom.core.codecs.endless import repeats

            if repeats(parts.dicts, parts.lists, above):
                return None
        if not decoded and not set(map(type, chain.from_iterable(dicts))) <= {str}:
            return None
        parts.names.update(*dicts)
        columns = _columns(list(map(dict.values, dicts))) + _columns(lists)
    return None


def _columns(rows: list[Any]) -> list[Collection[Any]]:
    """Return what rows hold, field by field where all have as many: the values of a field are mostly alike."""
    if len(rows) < _ROWS_MIN or len(set(map(len, rows))) > 1:
        return [list(chain.from_iterable(rows))] if rows else []
    groups = (rows[start : start + _ROWS_MAX] for start in range(0, len(rows), _ROWS_MAX))
    return [column for group in groups for column in zip(*group, strict=True)]


def to_json(structure: object, parts: Parts | None) -> bytes:
    """Return plain structures as compact JSON in UTF-8.

    :raises TypeError, ValueError, RecursionError, OverflowError: as `json.dumps`.
    """
    if parts is not None:
        try:
            data = msgspec.json.encode(structure)
        except (TypeError, ValueError, RecursionError, OverflowError):
            data = b""
        # A float that is not finite becomes null there, and has a word of its own below.
        if data and (b"null" not in data or all(map(math.isfinite, parts.floats))):
            return data
    text = json.dumps(structure, ensure_ascii=False, separators=(",", ":"))
    # Python strings may hold lone surrogates, which strict UTF-8 refuses and JSON's escapes keep.
    return text.encode("utf-8", "surrogatepass")


def from_json(data: bytes) -> Any:
    """Return what such JSON says, Python's words for floats that are not finite included.

    :raises ValueError, RecursionError: it is not JSON.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # It is stricter: what it refuses may be one of those words, a lone surrogate, or 1e400.
        return json.loads(data.decode("utf-8", "surrogatepass"))

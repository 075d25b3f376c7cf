"""Plain values: what Airflow's serialization would only copy.

They are looked through, and turned into JSON and back, at the speed of C: every push and pull waits for it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec

_SCALARS = frozenset({str, int, float, bool, type(None)})
_KINDS = _SCALARS | {dict, list}
# Airflow's serialization ends at a depth of its own, and names the value; so this is the depth of what skips it.
_DEPTH_MAX = 32
# A level of fewer containers, or with fewer parts below it, costs no memory that matters.
_CHECK_FROM, _PARTS_UNCHECKED = 100, 1_000_000


@dataclass(frozen=True, slots=True)
class Parts:
    """What a plain value is made of, in no order.

    :ivar names: every key of every dict.
    :ivar texts: every string that is a value.
    :ivar floats: whether any number is a float.
    """

    names: set[str] = field(default_factory=set, repr=False)
    texts: list[str] = field(default_factory=list, repr=False)
    dicts: list[dict[str, Any]] = field(default_factory=list, repr=False)
    lists: list[list[Any]] = field(default_factory=list, repr=False)
    floats: bool = False


def plain_parts(value: object, *, decoded: bool = False) -> Parts | None:
    """Return the parts of a value of JSON's own types; None where it has other types, or is too deep.

    None, too, for keys with two leading underscores, to which Airflow's serialization gives a meaning.

    :param decoded: JSON was decoded to it, so that every key is a plain string.
    """
    names: set[str] = set()
    texts: list[str] = []
    dicts: list[dict[str, Any]] = []
    lists: list[list[Any]] = []
    floats = False
    level: list[Any] = [value]
    # A level at a time, and no work in Python for a single part of it.
    for _ in range(_DEPTH_MAX):
        kinds = set(map(type, level))
        if not kinds <= _KINDS:
            return None
        floats = floats or float in kinds
        if str in kinds:
            texts += [node for node in level if type(node) is str]
        here = level if kinds == {dict} else [x for x in level if type(x) is dict] if dict in kinds else []
        rows = level if kinds == {list} else [x for x in level if type(x) is list] if list in kinds else []
        if len(here) + len(rows) > _CHECK_FROM and _repeats(here, rows, dicts, lists):
            return None
        below: list[Any] = []
        if here:
            if not decoded and not set(map(type, chain.from_iterable(here))) <= {str}:
                return None
            names.update(*here)
            dicts += here
            below += chain.from_iterable(map(dict.values, here))
        if rows:
            lists += rows
            below += chain.from_iterable(rows)
        if not below:
            known = any(name.startswith("__") for name in names)
            return None if known else Parts(names, texts, dicts, lists, floats)
        level = below
    return None


def _repeats(
    here: list[dict[str, Any]], rows: list[list[Any]], dicts: list[dict[str, Any]], lists: list[list[Any]]
) -> bool:
    """Return whether a large level may be one container again and again, as in a list that contains itself.

    Each level of such a value has many times the parts of the one before.
    """
    if sum(map(len, here)) + sum(map(len, rows)) < _PARTS_UNCHECKED:
        return False
    containers = set(map(id, chain(here, rows)))
    return len(containers) < len(here) + len(rows) or not containers.isdisjoint(map(id, chain(dicts, lists)))


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
        if data and (b"null" not in data or _is_finite(structure, parts)):
            return data
    text = json.dumps(structure, ensure_ascii=False, separators=(",", ":"))
    # Python strings may hold lone surrogates, which strict UTF-8 refuses and JSON's escapes keep.
    return text.encode("utf-8", "surrogatepass")


def _is_finite(structure: object, parts: Parts) -> bool:
    """Return whether each float is finite."""
    if not parts.floats:
        return True
    values = chain((structure,), *map(dict.values, parts.dicts), *parts.lists)
    return all(math.isfinite(value) for value in values if type(value) is float)


def from_json(data: bytes) -> Any:
    """Return what such JSON says, Python's words for floats that are not finite included.

    :raises ValueError, RecursionError: it is not JSON.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # It is stricter: what it refuses may be one of those words, a lone surrogate, or 1e400.
        return json.loads(data.decode("utf-8", "surrogatepass"))

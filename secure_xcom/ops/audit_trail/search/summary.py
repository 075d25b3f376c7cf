"""The fields of a line that a query can compare, decoded in a twentieth of the time of `json`.

A summary only excludes: whether a line is an event that matches is decided by `entries.event_of` and `Matcher`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from secure_xcom.core.event_fields import python_type, schema_of
from secure_xcom.ops.audit_trail.entries import DECODED_MAX_BYTES, event_of
from secure_xcom.ops.audit_trail.search.query import PATHS, field_of

_Fields = list[tuple[str, Any, Any]]


def _summary() -> type[msgspec.Struct]:
    """Return the type of a line with the fields of `PATHS`, none of which it must have."""
    parts: dict[str, _Fields] = {}
    columns: _Fields = []
    for path in (("time",), *PATHS):
        # A field that is null is of another type, and then the line is no event.
        of_type = (python_type(schema_of(path)), msgspec.field(default=None))
        if len(path) == 1:
            columns.append((path[0], *of_type))
        else:
            parts.setdefault(path[0], []).append((path[1], *of_type))
    for name, fields in parts.items():
        part = msgspec.defstruct(name.capitalize(), fields, gc=False, frozen=True)
        columns.append((name, part, part()))
    return msgspec.defstruct("Summary", columns, gc=False)


_decode = msgspec.json.Decoder(_summary()).decode


def summary_of(data: bytes) -> Any | None:
    """Return an object with the fields of `PATHS`, each None where the line has none.

    :returns: for a line that `entries.event_of` takes for an event: exactly its fields; or None where only `json`
        can tell.
    """
    # msgspec does not look into strings and numbers that it skips: see `entries.read`.
    if not data.isascii() or len(data) > DECODED_MAX_BYTES:
        return None
    try:
        return _decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def getter(path: Sequence[str]) -> Callable[[Any], Any]:
    """Return a function that returns a field of a summary."""
    return attrgetter(".".join(path))


def rows(block: bytes, paths: Sequence[tuple[str, ...]]) -> list[tuple[Any, ...]]:
    """Return some fields of every event of a block, and perhaps of lines that are none."""
    fields = attrgetter(*map(".".join, paths))
    found = []
    for line in block.split(b"\n"):
        if (summary := summary_of(line)) is not None:
            found.append(fields(summary))
        elif (record := event_of(line)) is not None:
            found.append(_of_record(record, paths))
    return found


def _of_record(record: Mapping[str, Any], paths: Sequence[tuple[str, ...]]) -> tuple[Any, ...]:
    return tuple(field_of(record, path) for path in paths)

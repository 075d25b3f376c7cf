"""The fields of a line that a query can compare, decoded in a twentieth of the time of `json`.

A summary only excludes: whether a line is an event that matches is decided by `entries.event_of` and `Matcher`.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from secure_xcom.core.event_fields import python_type, schema_of
from secure_xcom.ops.audit_trail.entries import DECODED_MAX_BYTES
from secure_xcom.ops.audit_trail.search.query import PATHS


def _struct() -> type[msgspec.Struct]:
    """Return the type of a line with the fields of `PATHS`, none of which it must have."""
    parts: dict[str, list[tuple[str, Any, None]]] = {}
    columns: list[tuple[str, Any, None]] = []
    for path in (("time",), *PATHS):
        kind = python_type(schema_of(path)) | None
        if len(path) == 1:
            columns.append((path[0], kind, None))
        else:
            parts.setdefault(path[0], []).append((path[1], kind, None))
    for name, fields in parts.items():
        columns.append((name, msgspec.defstruct(name.capitalize(), fields, gc=False) | None, None))
    return msgspec.defstruct("Summary", columns, gc=False)


_decode = msgspec.json.Decoder(_struct()).decode


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


def field(summary: Any, path: tuple[str, ...]) -> str | int | None:
    """Return a field of a summary."""
    value: Any = getattr(summary, path[0])
    if len(path) == 2 and value is not None:
        value = getattr(value, path[1])
    return cast("str | int | None", value)

"""How a value is read out of a JSON column without fetching what is long, on PostgreSQL, MySQL and SQLite."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

TEXT_MAX = 256 << 10
"""Characters of a value that are read. A reference without its payload has 2,048 bytes, and up to 65,536 ids where
it is a branching task's."""

_LOOKED_INTO_MAX = 4 << 20
"""Bytes of a value that PostgreSQL unpacks to look for the tag: no reference comes near."""
TAG = "secure_xcom"
PAYLOAD = "AAAA"
"""What stands in the answer in place of an inline payload."""


def text(value: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[Any]:
    """Return a value's JSON text, None where it is longer than `TEXT_MAX`.

    An inline payload is not fetched: a list of references may hold many of them, of 64 KiB each.
    """
    if dialect == "postgresql":
        # pg_column_size looks at the size alone, so that a value of a gigabyte is not unpacked for its length.
        is_object = sa.func.jsonb_typeof(value) == "object"
        path = sa.cast(sa.literal(["payload"], sa.ARRAY(sa.Text)), sa.ARRAY(sa.Text))
        short = sa.func.jsonb_set(value, path, sa.cast(sa.literal(f'"{PAYLOAD}"', sa.Text), value.type), False)
        trimmed = sa.cast(sa.case((is_object, short), else_=value), sa.Text)
        fits = sa.case((sa.func.length(trimmed) <= TEXT_MAX, trimmed), else_=None)
        return sa.case((sa.func.pg_column_size(value) <= TEXT_MAX, fits), else_=None)
    whole: sa.ColumnElement[Any] = sa.cast(value, sa.Text)
    if dialect in ("mysql", "mariadb"):
        replaced = sa.cast(sa.func.json_replace(value, "$.payload", PAYLOAD), sa.Text)
        whole = sa.case((sa.func.json_type(value) == "OBJECT", replaced), else_=whole)
    # SQLite's functions on JSON fail at what is none, such as a NaN that Python wrote.
    return sa.case((sa.func.length(whole) <= TEXT_MAX, whole), else_=None)


def tagged(value: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[Any]:
    """Return whether a value is an object with our tag; of use where its text is longer than is read."""
    if dialect == "postgresql":
        named = sa.and_(sa.func.jsonb_typeof(value) == "object", sa.func.jsonb_exists(value, TAG))
        return sa.case((sa.func.pg_column_size(value) > _LOOKED_INTO_MAX, False), else_=named)
    whole = sa.cast(value, sa.Text)
    long = sa.func.length(whole) > TEXT_MAX
    if dialect in ("mysql", "mariadb"):
        return sa.and_(long, sa.func.json_contains_path(value, "one", f"$.{TAG}") == 1)
    # Our references begin with the tag, and SQLite keeps texts as they were written.
    return sa.and_(long, sa.func.substr(whole, 1, 64).like(f'%"{TAG}"%'))

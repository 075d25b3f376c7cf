"""How the release before attempts reads a head: frozen, so that a test sees what its workers make of a new one.

Its strict parse is format.md, "Reading", step 1, with the fields that it knew. It shares no code with the
product.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REQUIRED = frozenset(
    {"dag_id", "run_id", "task_id", "map_index", "key", "compartment", "codec", "compression", "created"}
)
OPTIONAL = frozenset({"object", "expires", "readers", "exclusive"})
RECORD = frozenset({"secure_xcom", "head", "keys", "seal"})
RECORD_OPTIONAL = frozenset({"payload", "preview", "followed", "skipped"})


class Malformed(Exception):
    """It does not read this record: ``ReferenceMalformed``."""


def check(record: Mapping[str, Any]) -> None:
    """See that this release would go on to open a record.

    :raises Malformed: a field is missing, unknown or not in its form.
    """
    _fields(record, RECORD, RECORD_OPTIONAL)
    if record["secure_xcom"] != 1:
        raise Malformed("another version")
    head = record["head"]
    _fields(head, REQUIRED, OPTIONAL)
    if not all(isinstance(text, str) and text for text in head.values()):
        raise Malformed("not a non-empty string")
    if not re.fullmatch(r"-1|0|[1-9][0-9]{0,9}", head["map_index"]):
        raise Malformed("map_index is not in its canonical form")


def _fields(record: Mapping[str, Any], required: frozenset[str], optional: frozenset[str]) -> None:
    if missing := required.difference(record):
        raise Malformed(f"the field {min(missing)!r} is missing")
    if unknown := set(record).difference(required, optional):
        raise Malformed(f"the field {min(unknown)!r} is unknown")

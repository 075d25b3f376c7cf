"""A request for one XCom, read strictly: sizes capped, every field known and of its type."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secure_xcom.core.coordinate import MAP_INDEX_MAX, Coordinate
from secure_xcom.core.operator_errors import RevealRequestInvalid

BODY_MAX_BYTES = 16 << 10
"""The longest ids of Airflow take 250 and 512 characters of four bytes, which JSON may escape to twelve."""

REASON_MAX_CHARACTERS = 500
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_IDS = frozenset({"dag_id", "run_id", "task_id", "map_index", "key"})


@dataclass(frozen=True, slots=True)
class RevealRequest:
    """The XCom that a person asks for, and the reason.

    :ivar attempt: the UUID of the task instance that pushed; None for the current one.
    :ivar reason: for the access log.
    """

    coordinate: Coordinate
    attempt: str | None
    reason: str


def parse_request(body: bytes) -> RevealRequest:
    """Read the body of a request.

    :raises RevealRequestInvalid: says which part is wrong; :raises CoordinateInvalid: an id cannot be one.
    """
    record = _checked(json_object(body), {"coordinate", "reason"}, {"attempt"}, "the body")
    ids = _checked(record["coordinate"], _IDS, frozenset(), "coordinate")
    index = ids["map_index"]
    if isinstance(index, bool) or not isinstance(index, int) or not -1 <= index <= MAP_INDEX_MAX:
        raise RevealRequestInvalid(
            f"map_index is not a whole number from -1 to {MAP_INDEX_MAX}", where="coordinate"
        )
    return RevealRequest(Coordinate(**ids), _attempt(record.get("attempt")), _reason(record["reason"]))


def json_object(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a request's body.

    :raises RevealRequestInvalid: it is none.
    """
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        raise RevealRequestInvalid("the body is not JSON", where="the body") from None
    return _object(record, "the body")


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RevealRequestInvalid("not a JSON object", where=where)
    return value


def _checked(
    value: object, required: set[str] | frozenset[str], optional: set[str] | frozenset[str], where: str
) -> Mapping[str, Any]:
    record = _object(value, where)
    if missing := required.difference(record):
        raise RevealRequestInvalid(f"the field {min(missing)!r} is missing", where=where)
    if unknown := set(record).difference(required, optional):
        raise RevealRequestInvalid(f"the field {min(unknown)!r:.80} is unknown", where=where)
    return record


def _attempt(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and _UUID.fullmatch(value)):
        raise RevealRequestInvalid("not a UUID in lower case with dashes", where="attempt")
    return value


def _reason(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RevealRequestInvalid(
            "a reason is required", where="reason", remedy="say what you need the value for"
        )
    if len(value) > REASON_MAX_CHARACTERS:
        raise RevealRequestInvalid(f"it has more than {REASON_MAX_CHARACTERS} characters", where="reason")
    if any(not character.isprintable() for character in value):
        raise RevealRequestInvalid("it has a line break or a control character", where="reason")
    return value.strip()

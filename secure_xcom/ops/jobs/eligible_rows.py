"""Classify a row for every job: a usable reference, a refused one with the reason, or a plaintext value.

Rows are written by whoever runs a task, or may write to the database: any JSON, of any size, in any row. One that
is refused is reported, and keeps no job from the others; nothing that it says is acted upon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from secure_xcom.connections.sql.positions import AttemptPosition, Position
from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import AttemptMismatch, CoordinateMismatch, ReferenceMalformed, SecureXComError
from secure_xcom.core.operator_errors import DatabaseFailed
from secure_xcom.core.reference import ROUTES, ROUTES_KEY, TAG, Head, Reference, is_reference, parse
from secure_xcom.ops.deep_values import is_deep
from secure_xcom.ops.usual_reference import usual_reference
from secure_xcom.ops.xcom_table import Database, StoredRow

REFERENCE_MAX_CHARACTERS = 4 << 20
"""No reference is longer: one of a branching task has up to 65,536 ids beside it, of some tens of characters each.
As Python's objects JSON takes up to a hundred times the memory of its text."""

LINK_PREFIX = "_link_"
"""How the keys of operator extra links begin (airflow/sdk/bases/operatorlink.py)."""
LOOP_PREFIX = "_airflow_loop_"
"""How the keys of loops begin (airflow/models/dynamic_region.py). Airflow 3.4 takes them from nobody else."""

_LEVELS_MAX = 64
"""Previews have fewer than 20."""

_UNIQUE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
# As airflow/sdk/definitions/_internal/node.py takes them.
_TASK_ID = re.compile(r"[\w.-]{1,250}")
_NO_TIME = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class EligibleRow:
    """A row with its reference and its compartment. None of it is authenticated: that needs the data key."""

    row: StoredRow
    reference: Reference
    compartment: Compartment


def is_airflows_own(row: StoredRow) -> bool:
    """Return whether Airflow writes such a row past every backend, and reads it itself."""
    return row.key.startswith(LINK_PREFIX) or is_of_loop(row) or is_skip_decision(row)


def is_of_loop(row: StoredRow) -> bool:
    """Return whether Airflow 3.4 wrote a row for a loop. Earlier releases take such a key from everybody."""
    return row.key.startswith(LOOP_PREFIX) and isinstance(row.position, AttemptPosition)


def is_skip_decision(row: StoredRow) -> bool:
    """Return whether Airflow 3.4 wrote a row for a branching task: ids of tasks, and nothing else.

    Up to 3.3 it pushed them like any XCom (airflow/sdk/bases/skipmixin.py).
    """
    value = row.value
    if row.key != ROUTES_KEY or not isinstance(row.position, AttemptPosition) or not isinstance(value, dict):
        return False
    return set(value) <= set(ROUTES) and all(
        isinstance(ids, list) and all(isinstance(one, str) and _TASK_ID.fullmatch(one) for one in ids)
        for ids in value.values()
    )


def recognize(row: StoredRow, policy: AccessPolicy, database: Database) -> EligibleRow | SecureXComError | None:
    """Return a row's reference, the error of a refused reference, or None for a plaintext value.

    :raises DatabaseFailed: the database does not answer.
    """
    try:
        reference = None if row.text is None else usual_reference(row.text)
        if reference is None:
            row, value = read(row, database)
            if not is_reference(value):
                return None
            reference = parse(value)
        check_row(row, reference.head)
        return EligibleRow(row, reference, policy.compartment(reference.head.compartment))
    except DatabaseFailed:
        raise
    except SecureXComError as error:
        return error
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        # A field of an unexpected type concerns only this row.
        return ReferenceMalformed(f"it cannot be read ({type(error).__name__})", where=row.where)


def check_row(row: StoredRow, head: Head) -> None:
    """Check that a reference is in its own row.

    :raises CoordinateMismatch: it belongs to another coordinate.
    :raises AttemptMismatch: it belongs to another attempt or iteration of this one.
    """
    # Comparing coordinates also checks the row's ids, which takes longer than to see that they are the same.
    if not _is_at(row, head) and head.coordinate != row.coordinate:
        raise CoordinateMismatch(f"the reference belongs to {head.coordinate}", where=row.where)
    if row.attempt is not None and head.attempt not in (None, row.attempt):
        # A pull cannot find this out, because Airflow gives a value without its row.
        raise AttemptMismatch(
            f"the reference belongs to another attempt of the task, {head.attempt}", where=row.where
        )


def _is_at(row: StoredRow, head: Head) -> bool:
    return (
        row.run_id == head.run_id
        and row.map_index == int(head.map_index)
        and row.key == head.key
        and row.task_id == head.task_id
        and row.dag_id == head.dag_id
    )


def check_compartment(head: Head, policy: AccessPolicy) -> None:
    """Check that a reference is of the compartment that its DAG belongs to, as every pull does.

    :raises CompartmentUnknown: it is of another one, or none takes its DAG.
    """
    verdict = policy.decide(head.coordinate, head.compartment, None)
    if verdict.rule == "compartment":
        verdict.enforce()


def value_of(row: StoredRow) -> Any:
    """Return a row's value.

    :raises ReferenceMalformed: it carries the tag of a reference, and cannot be one.
    """
    value = row.value
    text = row.text or ""
    if value is None and f'"{TAG}"' in text:
        what = "it has the tag of a reference, but is not JSON, or its numbers are too long or its levels too many"
        raise ReferenceMalformed(what, where=row.where)
    # Without that many brackets nothing is so deep.
    may_be_deep = text.count("{") + text.count("[") > _LEVELS_MAX
    if may_be_deep and is_reference(value) and is_deep(value, _LEVELS_MAX):
        raise ReferenceMalformed(f"it is nested more than {_LEVELS_MAX} levels deep", where=row.where)
    return value


def read(row: StoredRow, database: Database) -> tuple[StoredRow, Any]:
    """Return the row with its text, and its value: None where it is not JSON, or too long for a reference.

    :raises ReferenceMalformed: it carries the tag of a reference, and cannot be one.
    """
    if row.text is None and row.size:
        if row.size > REFERENCE_MAX_CHARACTERS:
            if database.object_of(row.position) is None:
                return row, None
            raise ReferenceMalformed(f"it has {row.size} characters, more than any reference", where=row.where)
        text = database.whole_text(row.position)
        # A plaintext value is not parsed: that takes many times its size.
        if text is None or f'"{TAG}"' not in text:
            return row, None
        row = replace(row, text=text)
    return row, value_of(row)


def mentioned(row: StoredRow, database: Database) -> set[str]:
    """Return the ids of payloads that a refused reference may name, such as one of a later release.

    Whoever reads this decides that only payloads of the row's own task instance are meant.
    """
    if row.text is None:
        named = database.object_of(row.position)
        return {named[-36:]} if named and _UNIQUE.fullmatch(named[-36:]) else set()
    try:
        value = value_of(row)
    except ReferenceMalformed:
        return set(_UNIQUE.findall(row.text))
    if isinstance(value, dict) and value.get(TAG) == 1:
        head = value.get("head")
        named = head.get("object") if isinstance(head, dict) else None
        return {named[-36:]} if isinstance(named, str) and _UNIQUE.fullmatch(named[-36:]) else set()
    return set(_UNIQUE.findall(row.text))


def others_payloads(founds: Iterable[EligibleRow], database: Database) -> dict[Position, StoredRow]:
    """Return which of these references name a payload that an older row of their task instance names.

    A payload's path says of which task instance it is and not of which key, and only the data key shows to which
    row it belongs. Whoever writes rows can name another's payload, once it is there: so the row that the database
    had first is taken for its owner, and a job deletes nothing for the sake of another row.

    :returns: for each such reference the row that was there before, or at the same time, by its position.
    """
    wanted = {eligible.row.position: eligible for eligible in founds if eligible.reference.head.object is not None}
    rows = [eligible.row for eligible in wanted.values()]
    objects = {str(eligible.reference.head.object) for eligible in wanted.values()}
    by_object: dict[str, list[StoredRow]] = {}
    for row in database.of_tasks((row.dag_id, row.run_id, row.task_id, row.map_index) for row in rows):
        named = _object_in(row, database)
        if named in objects:
            by_object.setdefault(named, []).append(row)
    first: dict[Position, StoredRow] = {}
    for position, eligible in wanted.items():
        before = [
            row
            for row in by_object.get(str(eligible.reference.head.object), [])
            if not row.is_same_xcom(eligible.row) and not _is_older(eligible.row, row)
        ]
        if before:
            first[position] = before[0]
    return first


def _object_in(row: StoredRow, database: Database) -> str | None:
    if row.text is None:
        return database.object_of(row.position) if row.size else None
    value = row.value
    head = value.get("head") if is_reference(value) else None
    named = head.get("object") if isinstance(head, dict) else None
    return named if isinstance(named, str) else None


def _is_older(row: StoredRow, other: StoredRow) -> bool:
    return row.timestamp is not None and row.timestamp < (other.timestamp or _NO_TIME)

"""Read the reference of an XCom from Airflow's database. A browser that named it could name another object."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from secure_xcom.core.coordinate import Asked
from secure_xcom.core.errors import PlaintextRefused, ReferenceMalformed
from secure_xcom.core.operator_errors import XComNotFound
from secure_xcom.core.reference import Reference, is_reference, parse
from secure_xcom.ops.jobs.eligible_rows import value_of
from secure_xcom.ops.xcom_table import Database
from secure_xcom.reveal.request import RevealRequest


class StoredReference(NamedTuple):
    """The reference of a row, and the preview beside it, which nobody authenticates."""

    reference: Reference
    preview: object


def asked_of(request: RevealRequest) -> Asked:
    """Return what a request asks of the database."""
    coordinate = request.coordinate
    return Asked(
        coordinate.dag_id,
        coordinate.task_id,
        coordinate.key,
        coordinate.run_id,
        coordinate.map_index,
        attempt=request.attempt,
    )


def reference_of(database: Database, request: RevealRequest) -> StoredReference:
    """Return the reference in the row, checked to belong to it. What it says is not authenticated.

    :raises XComNotFound: there is no such row; :raises PlaintextRefused: it holds no reference.
    :raises ReferenceRefused: the reference cannot be read, or belongs to another row.
    :raises DatabaseFailed: the database does not answer.
    """
    where = str(request.coordinate)
    row = database.shown(request.coordinate, attempt=request.attempt)
    if row is None:
        of_attempt = "" if request.attempt is None else f" of the attempt {request.attempt}"
        raise XComNotFound(f"there is no such XCom{of_attempt}", where=where)
    if row.text is None:
        raise ReferenceMalformed(
            f"the row has {row.size} characters, more than is revealed",
            where=where,
            remedy="use `secure-xcom open`, which reads longer rows of branching tasks",
        )
    value = value_of(row)
    if not is_reference(value):
        raise PlaintextRefused(
            "the row holds a value without a reference: nothing is sealed there",
            where=where,
            remedy="look at it in Airflow's own XCom tab",
        )
    reference = parse(value)
    # Unlike a pull, this knows whose row it is.
    replace(asked_of(request), attempt=row.attempt).check(reference.head.coordinate)
    return StoredReference(reference, value.get("preview"))

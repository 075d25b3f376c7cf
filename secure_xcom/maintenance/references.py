"""Which rows a job may act upon: whole references, in their own row, of a compartment of the policy."""

from __future__ import annotations

from dataclasses import dataclass, replace

from secure_xcom.access import AccessPolicy, Compartment
from secure_xcom.errors import CoordinateMismatch, SecureXComError
from secure_xcom.maintenance.database import Database, StoredRow
from secure_xcom.reference import Reference, is_reference, parse


@dataclass(frozen=True, slots=True)
class Found:
    """A row, the reference in it, and its compartment. Nothing of it is authenticated: that needs the data key."""

    row: StoredRow
    reference: Reference
    compartment: Compartment


def recognise(row: StoredRow, policy: AccessPolicy, database: Database) -> Found | SecureXComError | None:
    """What a row holds: a reference, one that is refused and why, or None for a value without a reference."""
    if row.text is None:
        if not row.size or database.object_of(row.position) is None:
            return None
        # A branching task's list of what to skip can be long.
        row = replace(row, text=database.whole_text(row.position))
    value = row.value
    if not is_reference(value):
        return None
    try:
        found = parse(value)
        if found.head.coordinate != row.coordinate:
            raise CoordinateMismatch(f"the reference belongs to {found.head.coordinate}", where=row.where)
        return Found(row, found, policy.compartment(found.head.compartment))
    except SecureXComError as error:
        return error

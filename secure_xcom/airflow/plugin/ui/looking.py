"""What a row is: sealed, plaintext, shredded, expired or unreadable; an answer for whatever stands in the row.

Nothing of a reference is authenticated here, because that needs its data key. So this says what the row says of
itself, and only a pull finds out whether it is true.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from secure_xcom.airflow.plugin.ui.stored import StoredXCom
from secure_xcom.airflow.plugin.ui.values import TAG, TEXT_MAX
from secure_xcom.core import clock
from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import AttemptMismatch, CoordinateMismatch, ReferenceMalformed, SecureXComError
from secure_xcom.core.reference import TIME_FORMAT, Head, Reference, is_reference, parse

State = Literal["sealed", "plaintext", "shredded", "expired", "unreadable"]
STATES: tuple[State, ...] = ("sealed", "plaintext", "shredded", "expired", "unreadable")


@dataclass(frozen=True, slots=True)
class XCom:
    """A row and what it is.

    :ivar reference: where it is one; :ivar refusal: why it cannot be read as one.
    :ivar compartment: the policy's, of the name in the head; for plaintext that of the DAG. None where the policy
        is not known, or has none.
    :ivar preview: the picture in the row, as it stands there.
    """

    stored: StoredXCom
    state: State
    reference: Reference | None = None
    refusal: SecureXComError | None = None
    compartment: Compartment | None = None
    preview: object = field(default=None, repr=False)

    @property
    def coordinate(self) -> Coordinate | None:
        """Return the coordinate of the row; None if its ids are not those of an XCom."""
        run, place = self.stored.run, self.stored.place
        try:
            return Coordinate(run.dag_id, run.run_id, place.task_id, place.map_index, place.key)
        except SecureXComError:
            return None

    @property
    def head(self) -> Head | None:
        """The head of its reference."""
        return None if self.reference is None else self.reference.head

    @property
    def compartment_name(self) -> str | None:
        """The name in the head, or the compartment that takes the DAG."""
        if self.head is not None:
            return self.head.compartment
        return None if self.compartment is None else self.compartment.name


def look(stored: StoredXCom, policy: AccessPolicy | None) -> XCom:
    """Return what a row is. It raises nothing, whatever the row holds."""
    compartment = None if policy is None else policy.resolve_dag(stored.run.dag_id)
    if stored.text is None:
        if not stored.tagged:
            return XCom(stored, "plaintext", compartment=compartment)
        return XCom(
            stored,
            "unreadable",
            refusal=ReferenceMalformed(f"the record is longer than {TEXT_MAX} characters", where="the record"),
            compartment=compartment,
        )
    try:
        value = json.loads(stored.text)
    except (ValueError, RecursionError) as error:
        # PostgreSQL and MySQL keep JSON that Python does not read: very deep, or with a number of many digits.
        if not stored.tagged and f'"{TAG}"' not in stored.text:
            return XCom(stored, "plaintext", compartment=compartment)
        refusal = ReferenceMalformed(f"the record cannot be read as JSON ({type(error).__name__})")
        return XCom(stored, "unreadable", refusal=refusal, compartment=compartment)
    if not is_reference(value):
        return XCom(stored, "plaintext", compartment=compartment)
    preview = value.get("preview")
    try:
        reference = parse(value)
    except (SecureXComError, RecursionError, ValueError) as error:
        shown_error = (
            error if isinstance(error, SecureXComError) else ReferenceMalformed("the record cannot be read")
        )
        return XCom(stored, "unreadable", refusal=shown_error, compartment=compartment)
    return _of_reference(stored, reference, policy, preview)


def _of_reference(stored: StoredXCom, reference: Reference, policy: AccessPolicy | None, preview: object) -> XCom:
    head, run, place = reference.head, stored.run, stored.place
    row = (run.dag_id, run.run_id, place.task_id, place.key)
    indexes = {str(place.map_index)}
    if stored.attempt is not None and stored.attempt.region_id is not None:
        # In a loop the index of the row is the iteration's, and the task has none of its own.
        indexes.add("-1")
    if (head.dag_id, head.run_id, head.task_id, head.key) != row or head.map_index not in indexes:
        refusal = CoordinateMismatch("the reference belongs to another XCom: it was moved, copied or replayed")
        return XCom(stored, "unreadable", refusal=refusal)
    if stored.attempt is not None and head.attempt not in (None, stored.attempt.ti_id):
        # A pull cannot find this out, because Airflow gives a value without its row.
        refusal = AttemptMismatch(f"the reference belongs to another attempt of the task, {head.attempt}")
        return XCom(stored, "unreadable", refusal=refusal)
    try:
        compartment = None if policy is None else policy.compartment(head.compartment)
    except SecureXComError:
        compartment = None
    state: State = "sealed"
    if reference.shredded is not None:
        state = "shredded"
    elif head.expires is not None and head.expires <= clock.now().strftime(TIME_FORMAT):
        state = "expired"
    return XCom(stored, state, reference, compartment=compartment, preview=preview)

"""Tell errors of a single row from errors that concern every row and end a job."""

from __future__ import annotations

from secure_xcom.core.coordinate import path_segment
from secure_xcom.core.errors import (
    AuditError,
    ConfigurationError,
    ExtraMissing,
    KeyServiceUnavailable,
    SecureXComError,
)
from secure_xcom.core.operator_errors import DatabaseFailed, StateInvalid, ValueNotKept
from secure_xcom.core.pipeline.open_payload import place_within
from secure_xcom.core.store_errors import StoreFull, StoreUnavailable
from secure_xcom.ops.jobs.eligible_rows import EligibleRow
from secure_xcom.ops.jobs.opener import Opener


def concerns_all(error: SecureXComError) -> bool:
    """Return whether the next row would fail in the same way.

    A store or a key service that denies access may deny it to one payload or one wrap: whoever can put objects
    can put one that nobody else may read, or name a wrap of a foreign key. A codec that is not installed concerns
    one value, too.
    """
    if isinstance(error, ExtraMissing | ValueNotKept):
        return False
    return isinstance(
        error,
        AuditError
        | ConfigurationError
        | DatabaseFailed
        | KeyServiceUnavailable
        | StateInvalid
        | StoreFull
        | StoreUnavailable,
    )


def is_of_the_payload(error: SecureXComError, opener: Opener, eligible: EligibleRow) -> bool:
    """Return whether a store is unavailable for one payload only: an archived one, or one under a foreign key."""
    place = None
    if isinstance(error, StoreUnavailable):
        place = place_within(eligible.reference, eligible.compartment, eligible.row.where)
    if place is None:
        return False
    try:
        next(iter(opener.store(place[0]).list(path_segment(eligible.compartment.name))), None)
    except SecureXComError:
        return False
    return True

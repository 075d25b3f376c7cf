"""Which errors are one row's alone, and which concern every row, so that a job ends with them."""

from __future__ import annotations

from secure_xcom.core.coordinate import path_segment
from secure_xcom.core.errors import (
    AuditError,
    ConfigurationError,
    DatabaseFailed,
    ExtraMissing,
    KeyServiceUnavailable,
    SecureXComError,
    StateInvalid,
    StoreFull,
    StoreUnavailable,
    ValueNotKept,
)
from secure_xcom.core.pipeline.open_payload import place_within
from secure_xcom.ops.jobs.eligible_rows import Found
from secure_xcom.ops.jobs.opener import Opener


def concerns_all(error: SecureXComError) -> bool:
    """Whether going on to the next row is of no use.

    A store or a key service that refuses this identity may refuse it one payload or one wrap: whoever may put
    objects can put one that nobody else may read, or name a wrap of a stranger's key. A codec that is not
    installed here is one value's affair, too.
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


def is_of_the_payload(error: SecureXComError, opener: Opener, found: Found) -> bool:
    """Whether a store that seems to be down is so for one payload alone: in an archive, or under a strange key."""
    place = None
    if isinstance(error, StoreUnavailable):
        place = place_within(found.reference, found.compartment, found.row.where)
    if place is None:
        return False
    try:
        next(iter(opener.store(place[0]).list(path_segment(found.compartment.name))), None)
    except SecureXComError:
        return False
    return True

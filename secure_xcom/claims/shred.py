"""Crypto-shredding: once the claimant has succeeded, the wrapped keys go, then the payload; a day later the claim.

In this order, because the first step alone makes the value unreadable to everybody; and a run that was killed
between two of them is finished by the next, for what is done already counts as done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from secure_xcom.claims.claimant import Target
from secure_xcom.core import clock
from secure_xcom.core.claim_errors import ClaimTampered
from secure_xcom.core.coordinate import Coordinate, object_path
from secure_xcom.core.errors import ReferenceRefused, StoreError
from secure_xcom.core.reference import TIME_FORMAT, Reference, is_reference, parse
from secure_xcom.stores import Store

log = logging.getLogger(__name__)

Keys = Literal["destroyed", "gone", "kept"]
"""``destroyed`` now; ``gone`` before: the row is shredded, deleted, or of another push; ``kept``: the row could
not be read or written, so its payload is kept as well."""


class Rows(Protocol):
    """The rows in which references lie."""

    def read(self, coordinate: Coordinate) -> Sequence[object]:
        """Return the values of all its rows as they are kept: each attempt and iteration has one of its own."""

    def replace(self, coordinate: Coordinate, old: object, new: object) -> bool:
        """Put a value in the place of the old one, in each of its rows; False where that is not there any more."""


@dataclass(frozen=True, slots=True)
class Shredded:
    """What became of one exclusive XCom.

    :ivar left: why its payload is still there; None where it is gone.
    """

    target: Target
    keys: Keys
    left: StoreError | None = None

    @property
    def whole(self) -> bool:
        """Return whether nothing is left that could be opened."""
        return self.keys != "kept" and self.left is None


def shred(target: Target, rows: Rows, stores: Callable[[str], Store]) -> Shredded:
    """Destroy the wrapped keys in the row, and delete the payload.

    The row of another push of the same XCom is left as it is.

    :raises ClaimTampered: the row says that this XCom is not exclusive.
    :raises SecureXComError: the row cannot be read or written.
    """
    keys = _destroy_keys(target, rows)
    if keys == "kept":
        return Shredded(target, keys)
    path = object_path(target.compartment, target.coordinate, target.unique)
    failed: StoreError | None
    try:
        [failed] = stores(target.store_uri).delete_many([path])
    except StoreError as error:
        failed = error
    return Shredded(target, keys, failed)


def _destroy_keys(target: Target, rows: Rows) -> Keys:
    done: Keys = "gone"
    overwritten = False
    try:
        for value in rows.read(target.coordinate):
            reference = of_push(value, target)
            if reference is None or reference.shredded is not None:
                continue
            now = clock.now().strftime(TIME_FORMAT)
            if rows.replace(target.coordinate, value, reference.without_keys(now).dump()):
                done = "destroyed"
            else:
                overwritten = True
        # What was written in between is of another push, or it is not.
        left = [of_push(value, target) for value in rows.read(target.coordinate)] if overwritten else []
    except ReferenceRefused:
        return "kept"
    return "kept" if any(reference is not None and reference.shredded is None for reference in left) else done


def of_push(value: object, target: Target) -> Reference | None:
    """Return the reference, if it is of the push that was claimed.

    :raises ReferenceRefused: it cannot be read, so it may be; :raises ClaimTampered: it is, and is not exclusive.
    """
    if not is_reference(value):
        return None
    reference = parse(value)
    if reference.head.object != target.object:
        return None
    if reference.head.exclusive is None:
        raise ClaimTampered("the claim is on an XCom that is not exclusive", where=str(target.coordinate))
    return reference

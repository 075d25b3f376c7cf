"""Crypto-shredding: once the claimant has succeeded, the wrapped keys go, then the payload; a day later the claim.

In this order, because the first step alone makes the value unreadable to everybody; and a run that was killed
between two of them is finished by the next, for what is done already counts as done.

The claim outlives what it is on. A pull that looked for a claim before this one was made found none. If it is
suspended there, it still has the payload and the data key in memory, and it must find this claim when it goes on
and makes its own: without it, there would be a second reader (docs/models/claim.pml).

Maintenance has no data key, so it cannot know whether a claim is proved, and whoever may claim can put one there.
So a claim alone destroys nothing: the row that it is on must say that its XCom is exclusive, and that this is its
payload.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal, Protocol

from secure_xcom.claims import Ledger
from secure_xcom.claims.claim import Claim
from secure_xcom.claims.claimant import Claimant, Target
from secure_xcom.core import clock
from secure_xcom.core.coordinate import Coordinate, object_path, object_uri
from secure_xcom.core.errors import ClaimTampered, ReferenceRefused, StoreDenied, StoreError
from secure_xcom.core.reference import TIME_FORMAT, Reference, is_reference, parse
from secure_xcom.stores import Store

log = logging.getLogger(__name__)

CLAIM_KEPT = timedelta(hours=24)
"""How old a claim is when it is removed: longer than any pull takes, with the clocks of two machines between."""

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
            reference = _of_push(value, target)
            if reference is None or reference.shredded is not None:
                continue
            now = clock.now().strftime(TIME_FORMAT)
            if rows.replace(target.coordinate, value, reference.without_keys(now).dump()):
                done = "destroyed"
            else:
                overwritten = True
        # What was written in between is of another push, or it is not.
        left = [_of_push(value, target) for value in rows.read(target.coordinate)] if overwritten else []
    except ReferenceRefused:
        return "kept"
    return "kept" if any(reference is not None and reference.shredded is None for reference in left) else done


def _of_push(value: object, target: Target) -> Reference | None:
    """Return the reference, if it is of the push that was claimed.

    :raises ReferenceRefused: it cannot be read, so it may be; :raises ClaimTampered: it is, and is not exclusive.
    """
    if not is_reference(value):
        return None
    found = parse(value)
    if found.head.object != target.object:
        return None
    if found.head.exclusive is None:
        raise ClaimTampered("the claim is on an XCom that is not exclusive", where=str(target.coordinate))
    return found


def shred_finished(
    ledger: Ledger,
    places: Iterable[tuple[str, str]],
    *,
    succeeded: Callable[[Claimant], bool],
    held: Callable[[str, str], object],
    rows: Rows,
    stores: Callable[[str], Store],
    dry_run: bool = False,
    tampered: Callable[[ClaimTampered], object] = lambda _: None,
    outlived: Callable[[Claim], object] = lambda _: None,
    before: Callable[[Target], object] = lambda _: None,
) -> Iterator[tuple[Claim, Shredded | None]]:
    """Shred what claimants that have succeeded left behind: the maintenance command's part.

    Running it again finishes what a killed run left. Where the row is gone, or is of another push, the payload is
    left to gc, which looks at every row that might name it. A claim is removed once it is `CLAIM_KEPT` old and
    neither a key nor a payload is left of its XCom.

    :param places: a store URI and a compartment each: every store that a compartment of the policy has.
    :param succeeded: whether a task instance's state is ``success`` now.
    :param held: a DAG id and a run id -> the legal hold on them, or None (`AccessPolicy.held`).
    :param tampered: told of what lies among the claims and is none. It keeps no other XCom from being shredded.
    :param outlived: told of each claim that is removed, since nothing of its XCom is left.
    :param before: told of each XCom right before it is shredded, so that what it raises keeps that XCom.
    :returns: each claim that is due, and what became of its XCom; None in a dry run.
    :raises SecureXComError: the ledger or the rows cannot be read.
    """
    known = list(dict.fromkeys(places))
    for claim in ledger.list(known):
        try:
            if isinstance(claim, ClaimTampered):
                raise claim
            if held(claim.coordinate.dag_id, claim.coordinate.run_id) is not None:
                continue
            target = _target(claim, known)
            if target is None:
                log.warning("A claim names a payload in none of the stores, so it is left: %s", claim.coordinate)
                continue
            left = _left_of(target, rows)
            if left != "kept" and not _has_payload(target, stores):
                if clock.now() - _time(claim) > CLAIM_KEPT:
                    outlived(claim)
                    if not dry_run:
                        ledger.remove(target)
                continue
            if left == "gone" or not succeeded(claim.claimant):
                continue
            if not dry_run:
                before(target)
            done = None if dry_run else shred(target, rows, stores)
        except ClaimTampered as error:
            log.warning("A record among the claims is not a valid claim: %s", error)
            tampered(error)
            continue
        if done is not None and isinstance(done.left, StoreDenied):
            log.warning("A payload of a finished exclusive XCom stays behind: %s", done.left)
        yield claim, done


def _left_of(target: Target, rows: Rows) -> Keys:
    """Return ``gone`` if no row is of this push, ``destroyed`` if those that are have no keys, else ``kept``."""
    try:
        references = [_of_push(value, target) for value in rows.read(target.coordinate)]
    except ReferenceRefused:
        return "kept"
    mine = [reference for reference in references if reference is not None]
    if any(reference.shredded is None for reference in mine):
        return "kept"
    return "destroyed" if mine else "gone"


def _time(claim: Claim) -> datetime:
    return datetime.strptime(claim.claimed, TIME_FORMAT).replace(tzinfo=timezone.utc)


def _has_payload(target: Target, stores: Callable[[str], Store]) -> bool:
    path = object_path(target.compartment, target.coordinate, target.unique)
    return any(entry.path == path for entry in stores(target.store_uri).list(path.rpartition("/")[0]))


def _target(claim: Claim, places: Iterable[tuple[str, str]]) -> Target | None:
    """Return the target of a claim in one of these places. The claim's text chooses among them and adds none."""
    path = object_path(claim.compartment, claim.coordinate, claim.object[-36:])
    for uri, compartment in places:
        if compartment == claim.compartment and claim.object == object_uri(uri, path):
            return Target(claim.compartment, claim.coordinate, uri, claim.object)
    return None

"""Shred what claimants that have succeeded left behind, and remove their claims.

The claim outlives what it is on. A pull that looked for a claim before this one was made found none. If it is
suspended there, it still has the payload and the data key in memory, and it must find this claim when it goes on
and makes its own: without it, there would be a second reader (docs/evidence/models/claim.pml).

Maintenance has no data key, so it cannot know whether a claim is proved, and whoever may claim can put one there.
So a claim alone destroys nothing: the row that it is on must say that its XCom is exclusive, and that this is its
payload.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

from secure_xcom.claims.claim import Claim
from secure_xcom.claims.claimant import Claimant, Target
from secure_xcom.claims.ledger import ListedLedger
from secure_xcom.claims.shred import Keys, Rows, Shredded, of_push, shred
from secure_xcom.core import clock
from secure_xcom.core.claim_errors import ClaimTampered
from secure_xcom.core.coordinate import object_path, object_uri
from secure_xcom.core.errors import ReferenceRefused
from secure_xcom.core.expiry import moment_of
from secure_xcom.core.store_errors import StoreDenied
from secure_xcom.stores import Store

log = logging.getLogger(__name__)

CLAIM_KEPT = timedelta(hours=24)
"""The age at which a claim is removed: longer than any pull takes, with the clocks of two machines between."""


def shred_finished(
    ledger: ListedLedger,
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
    """Shred what claimants that have succeeded left behind.

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
            left, is_old = _left_of(target, rows), clock.now() - moment_of(claim.claimed) > CLAIM_KEPT
            if left == "gone" and not is_old:
                # gc deletes its payload, and the claim stays for now.
                continue
            if left != "kept" and not _has_payload(target, stores):
                if is_old:
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
        references = [of_push(value, target) for value in rows.read(target.coordinate)]
    except ReferenceRefused:
        return "kept"
    mine = [reference for reference in references if reference is not None]
    if any(reference.shredded is None for reference in mine):
        return "kept"
    return "destroyed" if mine else "gone"


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

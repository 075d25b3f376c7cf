"""The claim stage of a pull: only a pull of something exclusive loads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from secure_xcom.claims import claiming
from secure_xcom.claims.claim import Claim
from secure_xcom.claims.claimant import Claimant, Target
from secure_xcom.claims.claiming import Wanted
from secure_xcom.core.claim_errors import ClaimRefused
from secure_xcom.core.coordinate import Asked
from secure_xcom.core.event import Action
from secure_xcom.core.pipeline.decide import Admitted, exclusive_of
from secure_xcom.core.reference import Reference
from secure_xcom.sinks.recording import Draft, Record

if TYPE_CHECKING:
    from secure_xcom.claims.ledger import Ledger
    from secure_xcom.core.access_policy.interface import Rules

Recorder: TypeAlias = Callable[[Action, Sequence[Draft]], AbstractContextManager[Record]]
"""Records an operation of this task in the access log."""


def wanted(
    reference: Reference,
    compartment: Rules,
    store_uri: str,
    asked: Asked | None,
    claimant: Claimant | None,
    ledger: str,
) -> Wanted:
    """Return the claim that a pull of an exclusive XCom needs.

    :param asked: what the caller asked for; :param claimant: the task instance that pulls, if it is certain.
    :param ledger: where this deployment keeps claims.
    :raises ClaimRefused: nobody can say which task instance would claim it, of which run, or where.
    """
    head = reference.head
    where = str(head.coordinate)
    if claimant is None:
        raise ClaimRefused(
            "an exclusive XCom is for one task instance, and it is not known here which one this is",
            where=where,
            remedy="pull it in the task that it is for, not in a trigger, a callback or the API server",
        )
    if asked is None or asked.run_id is None:
        raise ClaimRefused(
            "an exclusive XCom must be pulled from one run, but this pull accepts any run",
            where=where,
            remedy="pull it without include_prior_dates",
        )
    if head.exclusive != ledger:
        raise ClaimRefused(
            f"its claims are kept in the {head.exclusive}, and this machine keeps claims in the {ledger}",
            where=where,
            remedy="set the same [secure_xcom] claims_uri on all machines; if it was changed, clear the "
            "producing task",
        )
    target = Target(compartment.name, head.coordinate, store_uri, head.object or "")
    return claiming.want(target, claimant, rerun=compartment.exclusive_rerun)


def read(
    admitted: Sequence[Admitted | None], ledger: Ledger, record: Record, recorder: Recorder
) -> dict[str, Claim | None]:
    """Return the claims on the exclusive XComs so far, by the payload's name, once all are the consumer's own.

    They are read before a key is asked for, so that whoever comes second unwraps nothing; and all of a list
    before anything of it is claimed.

    :raises ClaimRefused: another task instance has claimed one.
    """
    targets = {entry.target.object: entry.target for entry in exclusive_of(admitted)}
    claims = dict(zip(targets, ledger.find_many(list(targets.values())), strict=True))
    for index, entry in enumerate(admitted):
        with record.at(index) as draft:
            claim = None if entry is None or entry.wanted is None else claims[entry.wanted.target.object]
            if entry is None or entry.wanted is None or claim is None:
                continue
            try:
                claiming.check_claimant(entry.wanted, claim)
            except ClaimRefused:
                # Recorded as the claim that it was as well, which is what an alarm watches.
                with recorder("claim", [draft]):
                    raise
    return claims


def take(
    wanted_xcom: Wanted, claim: Claim | None, data_key: bytes, ledger: Ledger, draft: Draft, recorder: Recorder
) -> Claim:
    """Return the proved claim on an exclusive XCom before it is opened; a new one is an event of its own.

    :param claim: the claim so far.
    :raises ClaimRefused: another task instance was faster; :raises ClaimTampered: the claim was forged.
    """
    if claim is not None:
        claiming.check_proof(claim, data_key)
        return claim
    # The pull's own event says that a key was unwrapped. A second event that says so would be looked for in the
    # key service's log in vain.
    with recorder("claim", [replace(draft, opened_by=None, cache_hit=None)]):
        return claiming.take(ledger, wanted_xcom, data_key)

"""Claiming on a pull: look who has claimed, before any key is asked for; claim, before anything is opened."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from secure_xcom.claims.claim import PROOF_BYTES, Claim
from secure_xcom.claims.claimant import Claimant, Target
from secure_xcom.core.claim_errors import ClaimError, ClaimRefused, ClaimTampered
from secure_xcom.core.errors import SealError
from secure_xcom.core.reference import HEADER_BYTES
from secure_xcom.core.seal import seal, unseal

if TYPE_CHECKING:
    from secure_xcom.claims.ledger import Ledger

log = logging.getLogger(__name__)

_PATIENCE = 15.0

ALARM = "ALARM: a second reader of an exclusive XCom"
"""How the log line of a refused claim begins; to be watched for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An exclusive XCom that is being pulled.

    :ivar rerun: whether later attempts of the claimant, retries and re-runs, may pull again.
    """

    target: Target
    claimant: Claimant
    rerun: bool = True


def want(target: Target, claimant: Claimant, *, rerun: bool) -> Wanted:
    """Return what a task instance wants, which it may claim.

    :raises ClaimRefused: its attempt alone may pull again, and is not known.
    """
    if not rerun and claimant.attempt is None:
        raise ClaimRefused(
            "one attempt of a task instance may pull this exclusive XCom, and Airflow does not report here "
            "which one this is",
            where=str(target.coordinate),
            remedy="find out what replaces the context of Airflow's task, or remove exclusive_rerun from the "
            "compartment",
        )
    return Wanted(target, claimant, rerun)


def take(ledger: Ledger, wanted: Wanted, data_key: bytes) -> Claim:
    """Claim what nobody had claimed a moment ago; the claim that stands then.

    :param data_key: the secret of the XCom's own data key.
    :raises ClaimRefused: another task instance was faster.
    :raises ClaimTampered: the claim says that it is ours and nobody who had the data key made it.
    """
    made = _proved(Claim.of(wanted.target, wanted.claimant), data_key)
    until, wait = time.monotonic() + _PATIENCE, 0.05
    while True:
        if ledger.create(wanted.target, made):
            return made
        [existing] = ledger.find_many([wanted.target])
        if existing is not None:
            check_claimant(wanted, existing)
            check_proof(existing, data_key)
            return existing
        if time.monotonic() > until:
            raise ClaimError(
                "a claim cannot be created, although none is found",
                where=str(wanted.target.coordinate),
                remedy="find out who deletes claims, then run the task again",
            )
        # S3 refuses a conditional put already while another is under way (409 ConditionalRequestConflict).
        time.sleep(wait * random.random())  # noqa: S311  # no secret depends on it
        wait = min(wait * 2, 1.0)


def check_proof(claim: Claim, data_key: bytes) -> None:
    """Check that whoever made the claim had the data key.

    :raises ClaimTampered: the proof does not open with it.
    """
    where = str(claim.coordinate)
    header = claim.proof[:HEADER_BYTES]
    try:
        b"".join(unseal(data_key, claim.context(), (claim.proof,), header=header, size=PROOF_BYTES, where=where))
    except SealError:
        raise ClaimTampered("the claim was edited or forged: its proof does not open", where=where) from None


def _proved(claim: Claim, data_key: bytes) -> Claim:
    return replace(claim, proof=b"".join(seal(data_key, claim.context(), (b"",))))


def check_claimant(wanted: Wanted, claim: Claim) -> None:
    """Check that the existing claim was made by the task instance that pulls now.

    :raises ClaimRefused: another task instance made it; this is an alarm.
    """
    where = str(wanted.target.coordinate)
    if claim.claimant != wanted.claimant:
        # Ids only, and repr'd ones: this line is meant for people and for what watches logs.
        log.error("%s: %s, claimed by %s, asked for by %s", ALARM, where, claim.claimant, wanted.claimant)
        raise ClaimRefused(f"another task instance has claimed this exclusive XCom: {claim.claimant}", where=where)
    if wanted.rerun or _same_attempt(claim.claimant, wanted.claimant):
        return
    log.error("%s: a later attempt of %s, which had claimed %s", ALARM, wanted.claimant, where)
    raise ClaimRefused(
        "an earlier attempt of this task instance has claimed this exclusive XCom, and its compartment lets no "
        "retry and no re-run pull again (exclusive_rerun: false)",
        where=where,
        remedy="clear the producing task as well, so that it pushes again",
    )


def _same_attempt(then: Claimant, now: Claimant) -> bool:
    if then.attempt is None:
        # A claim of a release that did not write it: what max_tries tells is all there is.
        return then.clearing == now.clearing
    return then.attempt == now.attempt

"""The claim stage of a pull: only a pull of something exclusive loads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeAlias

from secure_xcom.claims import Ledger, claiming
from secure_xcom.claims.claim import Claim
from secure_xcom.claims.claiming import Wanted
from secure_xcom.core.errors import ClaimRefused
from secure_xcom.core.event import Action
from secure_xcom.core.pipeline.decide import Admitted, exclusive_of
from secure_xcom.sinks import Draft, Record

Recorder: TypeAlias = Callable[[Action, Sequence[Draft]], AbstractContextManager[Record]]
"""Records an operation of this task in the access log."""


def read(
    admitted: Sequence[Admitted | None], ledger: Ledger, record: Record, recorder: Recorder
) -> dict[str, Claim | None]:
    """Return the claims on the exclusive XComs so far, by the payload's name, once all are the consumer's own.

    They are read before a key is asked for, so that whoever comes second unwraps nothing; and all of a list
    before anything of it is claimed.

    :raises ClaimRefused: another task instance has claimed one.
    """
    targets = {wanted.target.object: wanted.target for wanted in exclusive_of(admitted)}
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
    wanted: Wanted, claim: Claim | None, data_key: bytes, ledger: Ledger, draft: Draft, recorder: Recorder
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
        return claiming.take(ledger, wanted, data_key)

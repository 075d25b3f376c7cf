"""Claiming against a ledger whose answers a test chooses: who gets the claim, and how long a task waits for it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from secure_xcom.claims.claim import PROOF_BYTES, Claim
from secure_xcom.claims.claimant import Claimant, Target
from secure_xcom.claims.claiming import Wanted, check_claimant, take, want
from secure_xcom.core.claim_errors import ClaimError, ClaimRefused, ClaimTampered
from tests.support.world import coordinate

DATA_KEY = b"\x11" * 32
TARGET = Target("finance", coordinate(), "memory://a", f"memory://a/{uuid.uuid4()}")
FIRST, OTHER = Claimant("readers", "run", "load", -1, 1, "an attempt"), Claimant("readers", "run", "other", -1, 1)


@dataclass
class Ledger:
    """A ledger that creates once as often as it is told to refuse, and then finds what it is told."""

    refusals: float
    there: Claim | None = None
    kind: str = "memory"
    uri: str = "memory"
    created: list[Claim] = field(default_factory=list)

    def find_many(self, targets: Sequence[Target]) -> list[Claim | None]:
        return [self.there for _ in targets]

    def create(self, target: Target, claim: Claim) -> bool:
        if self.refusals:
            self.refusals -= 1
            return False
        self.created.append(claim)
        return True


def made_by(claimant: Claimant, data_key: bytes = DATA_KEY) -> Claim:
    """A claim as its claimant makes it."""
    return take(Ledger(0), Wanted(TARGET, claimant), data_key)


def test_the_first_has_the_claim_at_once(sleeps: list[float]) -> None:
    """What is created is what is returned, and nobody waits."""
    ledger = Ledger(0)
    claim = take(ledger, Wanted(TARGET, FIRST), DATA_KEY)
    assert ledger.created == [claim]
    assert (claim.claimant, len(claim.proof), sleeps) == (FIRST, PROOF_BYTES, [])


def test_a_claim_of_ones_own_is_returned(sleeps: list[float]) -> None:
    """A claim that stands already, because its answer was lost, is as good as a new one."""
    there = made_by(FIRST)
    assert take(Ledger(1, there), Wanted(TARGET, FIRST), DATA_KEY) is there
    assert sleeps == []


def test_a_claim_of_another_is_refused() -> None:
    """Whoever was faster keeps it."""
    with pytest.raises(ClaimRefused, match="another task instance"):
        take(Ledger(1, made_by(OTHER)), Wanted(TARGET, FIRST), DATA_KEY)


def test_a_claim_without_the_data_key_is_tampered() -> None:
    """One that names us and was made with another key is told as such."""
    with pytest.raises(ClaimTampered, match="proof"):
        take(Ledger(1, made_by(FIRST, b"\x22" * 32)), Wanted(TARGET, FIRST), DATA_KEY)


def test_a_conflict_that_passes_is_waited_out(sleeps: list[float]) -> None:
    """A store refuses while another put is under way; each wait is twice as long, up to a second."""
    ledger = Ledger(8)
    assert take(ledger, Wanted(TARGET, FIRST), DATA_KEY) in ledger.created
    assert sleeps == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


def test_a_claim_that_is_neither_created_nor_found_ends_after_15_seconds(sleeps: list[float]) -> None:
    """Somebody deletes claims: the task does not wait for ever."""
    with pytest.raises(ClaimError, match="cannot be created, although none is found"):
        take(Ledger(float("inf")), Wanted(TARGET, FIRST), DATA_KEY)
    assert sum(sleeps[:-1]) < 15 < sum(sleeps) <= 16


def test_later_attempts_pull_again_unless_the_compartment_says_otherwise() -> None:
    """A retry may pull what its first attempt has claimed; with `exclusive_rerun: false` it may not."""
    there = made_by(FIRST)
    later = Claimant("readers", "run", "load", -1, 2, "a later attempt")
    check_claimant(Wanted(TARGET, later), there)
    check_claimant(want(TARGET, later, rerun=True), there)
    with pytest.raises(ClaimRefused, match="earlier attempt"):
        check_claimant(want(TARGET, later, rerun=False), there)


def test_an_attempt_that_is_not_known_cannot_be_the_only_one() -> None:
    """If only one attempt may pull, an attempt that is not known may not."""
    nobody = Claimant("readers", "run", "load", -1, 1)
    assert want(TARGET, nobody, rerun=True).rerun
    with pytest.raises(ClaimRefused, match="does not report"):
        want(TARGET, nobody, rerun=False)

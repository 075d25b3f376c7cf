"""The claim on an exclusive XCom: an object or a row, which whoever can write there may have written."""

from __future__ import annotations

from secure_xcom.claims.claim import Claim
from secure_xcom.core.claim_errors import ClaimTampered
from tests.fuzz import vectors
from tests.fuzz.harness import Harness


def _read(data: bytes) -> None:
    claim = Claim.parse(data, "claim")
    assert Claim.parse(claim.dump(), "claim") == claim, "what was read is not what is written again"
    claim.context()


HARNESS = Harness(
    (_read,),
    (ClaimTampered,),
    vectors.claims,
    words=("secure_xcom_claim", "by_attempt", "by_iteration", "by_clearing", "claimed", "proof", "NaN", "1e999"),
    longest=40_000,
)

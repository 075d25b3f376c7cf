"""Exclusive XComs: readable by one task instance only. Its first pull makes a claim; every other is refused.

Where claims are kept is one interface with two forms: objects beside the payloads, created and never overwritten
(`secure_xcom.claims.claim_objects`), or rows of a database (`secure_xcom.claims.claim_table`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from secure_xcom.claims.claimant import Claimant, Target
from secure_xcom.claims.exclusive import Exclusive, exclusive
from secure_xcom.core.errors import ClaimTampered

if TYPE_CHECKING:
    from secure_xcom.claims.claim import Claim

__all__ = ["IMPLEMENTATIONS", "Claim", "Claimant", "Exclusive", "Ledger", "Target", "exclusive"]

IMPLEMENTATIONS = {"database": "secure_xcom.claims.claim_table:ClaimTable"}
"""The ledgers that a deployment can configure. Without one, claims are objects beside the payloads."""


def __getattr__(name: str) -> object:
    # Only a task that is given something exclusive needs it.
    if name == "Claim":
        from secure_xcom.claims.claim import Claim

        return Claim
    raise AttributeError(name)


class Ledger(Protocol):
    """Where claims are kept: the first that is made for a target stays. Raises only errors of our tree."""

    kind: str
    """How heads name it: ``store`` or ``database``."""

    uri: str
    """For people; without a password."""

    def find_many(self, targets: Sequence[Target]) -> list[Claim | None]:
        """Return the claim of each target, in order; None where there is none.

        :raises ClaimTampered: the record is not a claim on this target.
        """

    def create(self, target: Target, claim: Claim) -> bool:
        """Create the claim; return False if one exists, whoever made it. Atomic across all processes."""

    def list(self, places: Iterable[tuple[str, str]]) -> Iterator[Claim | ClaimTampered]:
        """Yield every claim in these places (a store URI and a compartment each), or the error of its record."""

    def remove(self, target: Target) -> None:
        """Forget the claim. The target must not be readable any more: see `secure_xcom.claims.shred`."""

"""The interface of ledgers: where claims are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from secure_xcom.claims.claim import Claim
    from secure_xcom.claims.claimant import Target
    from secure_xcom.core.claim_errors import ClaimTampered


class Ledger(Protocol):
    """The place of claims: the first that is made for a target stays. Raises only errors of our tree."""

    kind: str
    """Its name in heads: ``store`` or ``database``."""

    uri: str
    """For people; without a password."""

    def find_many(self, targets: Sequence[Target]) -> list[Claim | None]:
        """Return the claim of each target, in order; None where there is none.

        :raises ClaimTampered: the record is not a claim on this target.
        """

    def create(self, target: Target, claim: Claim) -> bool:
        """Create the claim; return False if one exists, whoever made it. Atomic across all processes."""


class ListedLedger(Ledger, Protocol):
    """A ledger as maintenance needs it."""

    def list(self, places: Iterable[tuple[str, str]]) -> Iterator[Claim | ClaimTampered]:
        """Yield every claim in these places (a store URI and a compartment each), or the error of its record."""

    def remove(self, target: Target) -> None:
        """Forget the claim. The target must not be readable any more: see `secure_xcom.claims.shred`."""

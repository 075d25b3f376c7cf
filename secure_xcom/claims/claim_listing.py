"""List and remove claims that are objects in stores. Maintenance alone does so, and no task loads this."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from secure_xcom.claims.claim import RECORD_MAX_BYTES, Claim
from secure_xcom.claims.claim_objects import ClaimObjects
from secure_xcom.claims.claimant import Target, claims_folder
from secure_xcom.core.claim_errors import ClaimTampered
from secure_xcom.core.coordinate import object_path, object_uri
from secure_xcom.core.errors import ObjectMissing, PathInvalid


class ListedClaimObjects(ClaimObjects):
    """Claims in the stores of their payloads, for maintenance: `secure_xcom.claims.ledger.ListedLedger`."""

    def list(self, places: Iterable[tuple[str, str]]) -> Iterator[Claim | ClaimTampered]:
        """Yield every claim of these compartments in these stores; claims removed meanwhile are skipped.

        What cannot be read stands in its claim's place: whoever may put objects can put one that nobody else may
        read (with a key of their own, in an archive, as a file of another mode), which is no trouble of the store.
        """
        for uri, compartment in dict.fromkeys(places):
            store = self.stores(uri)
            for entry in store.list(claims_folder(compartment)):
                where = f"{uri}/{entry.path}"
                for answer in store.get_many([entry.path], [RECORD_MAX_BYTES]):
                    if isinstance(answer, bytes):
                        yield _of_place(Claim.read(answer, where), uri, compartment, entry.path, where)
                    elif isinstance(answer, PathInvalid):
                        yield ClaimTampered("the object's name is not that of a claim", where=repr(where))
                    elif not isinstance(answer, ObjectMissing):
                        yield ClaimTampered(
                            f"the object cannot be read: {answer.what}",
                            where=where,
                            remedy=f"{answer.remedy}; if the others can be read, find out who put it there",
                        )

    def remove(self, target: Target) -> None:
        """Delete the object."""
        [failed] = self.stores(target.store_uri).delete_many([target.path])
        if failed is not None:
            raise failed


def _of_place(
    claim: Claim | ClaimTampered, uri: str, compartment: str, path: str, where: str
) -> Claim | ClaimTampered:
    """Return the claim, or an error if its place is for another target: permissions to claim are for a folder."""
    if isinstance(claim, ClaimTampered):
        return claim
    payload = object_path(compartment, claim.coordinate, claim.object[-36:])
    expected = Target(compartment, claim.coordinate, uri, object_uri(uri, payload))
    if expected.path != path or (claim.compartment, claim.object) != (expected.compartment, expected.object):
        return ClaimTampered("the claim is stored in the place of another one", where=where)
    return claim

"""Claims as objects in the payload's own store: created, never overwritten. The default.

Task processes of Airflow 3 have no way to a database, and all of them reach the store. A claim lies at
``~claims/COMPARTMENT/DAG_ID/RUN_ID/TASK_ID/MAP_INDEX/UUID``: no compartment's segment begins with a tilde, and no
grant on payloads, to delete them say, is one on claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from secure_xcom.claims.claim import RECORD_MAX_BYTES, Claim
from secure_xcom.claims.claimant import Target
from secure_xcom.core.coordinate import claims_folder, object_path, object_uri
from secure_xcom.core.errors import (
    ClaimTampered,
    ObjectExists,
    ObjectMissing,
    PathInvalid,
    StoreDenied,
    StoreError,
)
from secure_xcom.stores import Store

_REMEDY = (
    "name the key under `exclusive` of the compartment, so that `secure-xcom policy compile` grants the making of "
    "claims to whoever may pull"
)


class ClaimObjects:
    """Claims in the stores of their payloads.

    :param stores: store URI -> store.
    """

    kind = "store"
    uri = "the store of each payload"

    def __init__(self, stores: Callable[[str], Store]) -> None:
        self._stores = stores

    def find_many(self, targets: Sequence[Target]) -> list[Claim | None]:
        """Return the claim of each target."""
        answers: dict[int, bytes | StoreError] = {}
        by_store: dict[str, list[int]] = {}
        for index, target in enumerate(targets):
            by_store.setdefault(target.store_uri, []).append(index)
        for uri, indexes in by_store.items():
            paths = [targets[index].path for index in indexes]
            records = self._stores(uri).get_many(paths, [RECORD_MAX_BYTES] * len(paths))
            answers.update(zip(indexes, records, strict=True))
        return [self._claim(answers[index], target) for index, target in enumerate(targets)]

    def _claim(self, answer: bytes | StoreError, target: Target) -> Claim | None:
        if isinstance(answer, ObjectMissing):
            return None
        if isinstance(answer, StoreDenied):
            raise StoreDenied(answer.what, where=answer.where, remedy=_REMEDY)
        if isinstance(answer, StoreError):
            raise answer
        claim = Claim.parse(answer, f"{target.store_uri}/{target.path}")
        claim.check_target(target)
        return claim

    def create(self, target: Target, claim: Claim) -> bool:
        """Put the object, unless there is one."""
        try:
            self._stores(target.store_uri).put(target.path, (claim.dump(),))
        except ObjectExists:
            return False
        except StoreDenied as error:
            raise StoreDenied(error.what, where=error.where, remedy=_REMEDY) from None
        return True

    def list(self, places: Iterable[tuple[str, str]]) -> Iterator[Claim | ClaimTampered]:
        """Yield every claim of these compartments in these stores; claims removed meanwhile are skipped.

        What cannot be read stands in its claim's place: whoever may put objects can put one that nobody else may
        read (with a key of their own, in an archive, as a file of another mode), which is no trouble of the store.
        """
        for uri, compartment in dict.fromkeys(places):
            store = self._stores(uri)
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
                            remedy=f"{answer.remedy}; if the others can be read, look for who put it there",
                        )

    def remove(self, target: Target) -> None:
        """Delete the object."""
        [failed] = self._stores(target.store_uri).delete_many([target.path])
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
        return ClaimTampered("the claim is in the place of another one", where=where)
    return claim

"""Claims as objects in the payload's own store: created, never overwritten. The default.

Task processes of Airflow 3 have no way to a database, and all of them reach the store. A claim lies at
``~claims/COMPARTMENT/DAG_ID/RUN_ID/TASK_ID/MAP_INDEX/UUID``: no compartment's segment begins with a tilde, and no
grant on payloads, to delete them say, is one on claims.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from secure_xcom.claims.claim import RECORD_MAX_BYTES, Claim
from secure_xcom.claims.claimant import Target
from secure_xcom.core.errors import ObjectExists, ObjectMissing, StoreError
from secure_xcom.core.store_errors import StoreDenied
from secure_xcom.stores import Store

_REMEDY = (
    "name the key under `exclusive` of the compartment, so that `secure-xcom policy compile` lets whoever may "
    "pull create claims"
)


class ClaimObjects:
    """Claims in the stores of their payloads. Maintenance lists them (`secure_xcom.claims.claim_listing`).

    :param stores: store URI -> store.
    """

    kind = "store"
    uri = "the store of each payload"

    def __init__(self, stores: Callable[[str], Store]) -> None:
        self.stores = stores

    def find_many(self, targets: Sequence[Target]) -> list[Claim | None]:
        """Return the claim of each target."""
        answers: dict[int, bytes | StoreError] = {}
        by_store: dict[str, list[int]] = {}
        for index, target in enumerate(targets):
            by_store.setdefault(target.store_uri, []).append(index)
        for uri, indexes in by_store.items():
            paths = [targets[index].path for index in indexes]
            records = self.stores(uri).get_many(paths, [RECORD_MAX_BYTES] * len(paths))
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
            self.stores(target.store_uri).put(target.path, (claim.dump(),))
        except ObjectExists:
            return False
        except StoreDenied as error:
            raise StoreDenied(error.what, where=error.where, remedy=_REMEDY) from None
        return True

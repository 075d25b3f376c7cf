"""Claims as objects, against a store whose answers a test chooses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest

from secure_xcom.claims.claim import Claim
from secure_xcom.claims.claim_objects import ClaimObjects
from secure_xcom.claims.claimant import Claimant, Target
from secure_xcom.core.errors import StoreError
from secure_xcom.core.store_errors import StoreDenied, StoreUnavailable
from tests.support.claim_contract import target
from tests.support.doubles import MemoryStore

READER = Claimant("readers", "run", "load", -1, 1)


class Answering(MemoryStore):
    """A store that answers with errors of a test."""

    def __init__(self, error: StoreError) -> None:
        super().__init__()
        self.error = error

    def get_many(self, paths: Sequence[str], sizes: Sequence[int] | None = None) -> Iterator[bytes | StoreError]:
        return iter([self.error] * len(paths))

    def put(self, path: str, pieces: Iterable[bytes]) -> None:
        raise self.error


def ledger_of(store: MemoryStore) -> ClaimObjects:
    """The claims in one store."""
    return ClaimObjects(lambda _: store)


def claim_on(at: Target) -> Claim:
    """A claim without a proof."""
    return Claim.of(at, READER)


def test_the_first_creation_counts() -> None:
    """The second one says that there is a claim, and leaves it."""
    store = MemoryStore()
    at, ledger = target(store.uri), ledger_of(store)
    assert ledger.create(at, claim_on(at)) is True
    before = dict(store.objects)
    assert ledger.create(at, Claim.of(at, Claimant("other", "run", "load", -1))) is False
    assert store.objects == before


def test_an_identity_without_the_right_is_told_what_to_do() -> None:
    """Looking and creating alike: the policy has to name the key."""
    denied = StoreDenied("the store denies the request", where="a place")
    at, ledger = target("memory://x"), ledger_of(Answering(denied))
    with pytest.raises(StoreDenied, match=r"the store denies the request.*`exclusive` of the compartment"):
        ledger.find_many([at])
    with pytest.raises(StoreDenied, match="`exclusive` of the compartment"):
        ledger.create(at, claim_on(at))


def test_a_store_that_is_away_is_no_missing_claim() -> None:
    """Whether somebody claimed it is not known, so nothing is claimed."""
    away = StoreUnavailable("no answer", where="a place")
    at, ledger = target("memory://x"), ledger_of(Answering(away))
    with pytest.raises(StoreUnavailable, match="no answer"):
        ledger.find_many([at])
    with pytest.raises(StoreUnavailable, match="no answer"):
        ledger.create(at, claim_on(at))


def test_a_store_that_answers_too_little_is_noticed() -> None:
    """An answer that lacks would be read as the next one's."""

    class Short(MemoryStore):
        def get_many(
            self, paths: Sequence[str], sizes: Sequence[int] | None = None
        ) -> Iterator[bytes | StoreError]:
            return iter([])

    with pytest.raises(ValueError, match="zip"):
        ledger_of(Short()).find_many([target("memory://x")])


def test_heads_name_the_kind() -> None:
    """The name is part of the format."""
    assert ClaimObjects.kind == "store"

"""Crypto-shredding one XCom: what is left of it after each way in which it can go wrong."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest

from secure_xcom.claims.claimant import Target
from secure_xcom.claims.shred import Shredded, of_push, shred
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.claim_errors import ClaimTampered
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import StoreError
from secure_xcom.core.reference import parse
from secure_xcom.stores import Store
from tests.support.doubles import MemoryStore
from tests.support.world import World, coordinate

TOKEN = coordinate(key="api_token")
POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["*"]
    key_uris: ["memory-key://finance"]
    store_uri: STORE
    exclusive: ["*_token"]
"""


@dataclass
class Rows:
    """The rows of one XCom. `beaten`: what another writes right before each replacement."""

    values: list[Any]
    beaten: list[Any] = field(default_factory=list)
    reads: int = 0

    def read(self, coordinate: Coordinate) -> Sequence[object]:
        self.reads += 1
        return list(self.values)

    def replace(self, coordinate: Coordinate, old: object, new: object) -> bool:
        if self.beaten:
            self.values[self.values.index(old)] = self.beaten.pop(0)
        if old not in self.values:
            return False
        self.values[self.values.index(old)] = new
        return True


@pytest.fixture
def there() -> World:
    """A deployment with an exclusive key, in memory."""
    uri = f"memory://{uuid.uuid4().hex}"
    text = POLICY.replace("STORE", uri)
    return World(Settings(), AccessPolicy.parse(text.encode(), where="policy.yaml"), store_uri=uri)


def target(there: World, reference: dict[str, Any]) -> Target:
    """What a claim on a push is on."""
    return Target("finance", TOKEN, there.store.uri, reference["head"]["object"])


def done(there: World, reference: dict[str, Any], rows: Rows, store: Store | None = None) -> Shredded:
    """What became of a push."""
    return shred(target(there, reference), rows, lambda _: store or there.store)


def payloads(there: World) -> list[str]:
    """What is in the store."""
    return [found.path for found in there.store.list()]


def test_the_keys_go_and_then_the_payload(there: World) -> None:
    """Nothing is left that could be opened."""
    reference = there.push("opensesame", TOKEN)
    rows = Rows([reference])
    found = done(there, reference, rows)
    assert (found.keys, found.left, found.whole, rows.reads) == ("destroyed", None, True, 1)
    assert parse(rows.values[0]).shredded is not None
    assert payloads(there) == []


def test_each_row_of_the_push_is_shredded(there: World) -> None:
    """Attempts and iterations have rows of their own, and one that is shredded does not end the search."""
    reference = there.push("opensesame", TOKEN)
    first = Rows([reference])
    done(there, reference, first)
    rows = Rows([first.values[0], reference, "a plain value", reference])
    assert done(there, reference, rows).keys == "destroyed"
    assert [parse(value).shredded is not None for value in rows.values if value != "a plain value"] == [True] * 3


def test_a_shredded_row_is_gone(there: World) -> None:
    """A second run finds nothing to destroy, keeps the time of the first, and deletes a payload that was left."""
    reference = there.push("opensesame", TOKEN)
    rows = Rows([reference])
    done(there, reference, rows)
    before = list(rows.values)
    found = done(there, reference, rows)
    assert (found.keys, found.whole) == ("gone", True)
    assert rows.values == before


def test_the_row_of_another_push_is_left(there: World) -> None:
    """A second push wrote over the row: its keys and its payload stay, and the first payload goes."""
    first, second = there.push("one", TOKEN), there.push("two", TOKEN)
    rows = Rows([second])
    assert done(there, first, rows).keys == "gone"
    assert rows.values == [second]
    assert [second["head"]["object"].endswith(path.rpartition("/")[2]) for path in payloads(there)] == [True]


def test_a_push_in_between_is_another(there: World) -> None:
    """A row that is written over at that moment holds another push, so the one that was claimed is gone."""
    first, second = there.push("one", TOKEN), there.push("two", TOKEN)
    rows = Rows([first], [second])
    found = done(there, first, rows)
    assert (found.keys, found.whole, rows.values) == ("gone", True, [second])


def test_a_row_that_is_edited_in_between_keeps_its_payload(there: World) -> None:
    """What stands there now is still of this push, so nothing was destroyed and nothing is deleted."""
    reference = there.push("opensesame", TOKEN)
    edited = {**reference, "preview": {"edited": True}}
    rows = Rows([reference], [edited])
    found = done(there, reference, rows)
    assert (found.keys, found.whole, rows.values) == ("kept", False, [edited])
    assert len(payloads(there)) == 1


def test_a_row_that_cannot_be_read_keeps_its_payload(there: World) -> None:
    """It may be of this push."""
    reference = there.push("opensesame", TOKEN)
    assert done(there, reference, Rows([{**reference, "head": None}])).keys == "kept"
    assert len(payloads(there)) == 1


@pytest.mark.parametrize("raised", [True, False])
def test_a_payload_that_cannot_be_deleted_is_told(there: World, raised: bool) -> None:
    """The keys are gone, and the error says why the payload is not."""
    reference = there.push("opensesame", TOKEN)
    error = StoreError("no")

    class Failing(MemoryStore):
        def delete_many(self, paths: Sequence[str]) -> list[StoreError | None]:
            if raised:
                raise error
            return [error] * len(paths)

    found = done(there, reference, Rows([reference]), Failing())
    assert (found.keys, found.left, found.whole) == ("destroyed", error, False)


def test_a_claim_on_what_is_not_exclusive_destroys_nothing(there: World) -> None:
    """Whoever can write claims could otherwise destroy any XCom."""
    reference = there.push("for all", coordinate(key="plain"))
    rows = Rows([reference])
    with pytest.raises(ClaimTampered, match="not exclusive"):
        done(there, reference, rows)
    assert rows.values == [reference]


def test_what_is_no_reference_is_of_no_push(there: World) -> None:
    """A plain value is left to Airflow."""
    reference = there.push("opensesame", TOKEN)
    assert of_push("plain", target(there, reference)) is None
    assert of_push(reference, target(there, reference)) is not None


def test_what_became_of_it_cannot_be_changed(there: World) -> None:
    """What is reported is what was done."""
    found = Shredded(target(there, there.push("opensesame", TOKEN)), "gone")
    with pytest.raises(FrozenInstanceError):
        found.keys = "destroyed"  # type: ignore[misc]

"""The doubles keep the promises of what they stand for, and fail when they are told to."""

from __future__ import annotations

import pytest

from secure_xcom.core.errors import AuditError, KeyServiceUnavailable, KeyVersionUnknown, ObjectMissing, UriInvalid
from secure_xcom.core.event import Line
from secure_xcom.core.service_errors import KeyServiceDenied
from secure_xcom.core.store_errors import StoreDenied, StoreFull, StoreUnavailable
from secure_xcom.keys import DataKey, KeyService, Wrap, key_service
from secure_xcom.stores import Store
from tests.support.doubles import MemoryKeyService, MemoryKeyServices, MemorySink, MemoryStore, MemoryStores
from tests.support.key_service_contract import CONTEXT, KeyServiceContract, opened
from tests.support.store_contract import StoreContract


class TestMemoryKeyService(KeyServiceContract):
    """The double keeps the contract of key services."""

    @pytest.fixture
    def service(self) -> KeyService:
        return MemoryKeyService("memory-key://one")

    @pytest.fixture
    def other(self) -> KeyService:
        return MemoryKeyService("memory-key://two")

    def rotate(self, service: KeyService) -> None:
        """See the contract."""
        assert isinstance(service, MemoryKeyService)
        service.rotate()


def test_told_to_be_unavailable_it_raises() -> None:
    """An unavailable double raises for wrap, unwrap and rewrap."""
    service = MemoryKeyService()
    service.unavailable = True
    for request in (lambda: service.wrap(DataKey.generate(), CONTEXT), lambda: service.unwrap_many([])):
        with pytest.raises(KeyServiceUnavailable):
            request()


def test_told_to_deny_it_raises() -> None:
    """A denying double raises KeyServiceDenied, and works again afterwards."""
    service = MemoryKeyService()
    key = DataKey.generate()
    wrap = Wrap(service.wrap(key, CONTEXT), CONTEXT)
    service.denied = True
    with pytest.raises(KeyServiceDenied):
        service.unwrap_many([wrap])
    service.denied = False
    assert opened(service.unwrap_many([wrap])[0]) == key.secret


def test_one_entry_can_fail() -> None:
    """A failure set for one wrap stands in its place only."""
    service = MemoryKeyService()
    bad, good = (Wrap(service.wrap(DataKey.generate(), CONTEXT), CONTEXT) for _ in range(2))
    service.failures[bad.wrapped] = KeyServiceDenied("told so")
    answers = service.unwrap_many([bad, good])
    assert isinstance(answers[0], KeyServiceDenied)
    assert isinstance(answers[1], DataKey)


def test_a_forgotten_version_is_unknown() -> None:
    """What was wrapped with a version that the double forgot answers KeyVersionUnknown."""
    service = MemoryKeyService()
    wrap = Wrap(service.wrap(DataKey.generate(), CONTEXT), CONTEXT)
    service.rotate()
    service.forget(1)
    assert isinstance(service.unwrap_many([wrap])[0], KeyVersionUnknown)


def test_requests_are_counted() -> None:
    """Calls and entries are counted apart, so a test can tell a batch from a loop."""
    service = MemoryKeyService()
    wrap = Wrap(service.wrap(DataKey.generate(), CONTEXT), CONTEXT)
    service.unwrap_many([wrap] * 5)
    assert service.requests == {"wrap": 1, "unwrap_many": 1}
    assert service.entries == {"wrap": 1, "unwrap_many": 5}


def test_the_chooser_gives_the_same_double_for_the_same_uri() -> None:
    """Two uses of one URI meet the same wrapping key, two URIs do not."""
    services = MemoryKeyServices()
    assert services("memory-key://a") is services("memory-key://a")
    assert services("memory-key://a") is not services("memory-key://b")


def test_production_does_not_know_the_double() -> None:
    """The double's scheme is refused by the package's own chooser."""
    with pytest.raises(UriInvalid):
        key_service("memory-key://test")


class TestMemoryStore(StoreContract):
    """The double keeps the contract of stores."""

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


def test_a_store_told_to_fail_fails() -> None:
    """Each fault of the store's double is its own error, and is over when it is taken back."""
    store = MemoryStore()
    store.put("a/b", [b"sealed"])
    for fault, error in (("unavailable", StoreUnavailable), ("denied", StoreDenied)):
        setattr(store, fault, True)
        with pytest.raises(error):
            store.get("a/b")
        with pytest.raises(error):
            store.put("a/c", [b""])
        setattr(store, fault, False)
    store.full = True
    with pytest.raises(StoreFull):
        store.put("a/c", [b""])
    assert store.objects == {"a/b": b"sealed"}
    store.failures["a/b"] = ObjectMissing("told so")
    store.full = False
    store.put("a/c", [b"other"])
    answers = list(store.get_many(["a/b", "a/c"]))
    assert isinstance(answers[0], ObjectMissing)
    assert answers[1] == b"other"
    assert store.requests["get_many"] == 1


def test_stores_are_chosen_by_uri() -> None:
    """Two uses of one store URI meet the same objects."""
    stores = MemoryStores()
    stores("memory-store://a").put("a/b", [b"sealed"])
    assert stores("memory-store://a").objects
    assert not stores("memory-store://b").objects


def test_a_full_sink_takes_nothing() -> None:
    """The sink's double keeps what it was given, and nothing of what it refuses."""
    sink = MemorySink()
    sink.write([Line({"action": "push"}, b"")])
    sink.full = True
    with pytest.raises(AuditError):
        sink.write([Line({"action": "pull"}, b"")])
    assert sink.records == [{"action": "push"}]

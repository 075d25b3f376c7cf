"""The data keys of a process: which keys wrap, which is asked first, and what happens when one does not answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.core.errors import KeyServiceUnavailable, SecureXComError, SettingInvalid, UnwrapRefused
from secure_xcom.core.service_errors import ConnectionUnknown, KeyServiceDenied
from secure_xcom.keys import DataKey, openers
from secure_xcom.keys.data_key_cache import USES_MAX, DataKeyCache
from secure_xcom.keys.data_keys import Candidates, DataKeys, Unwrapped
from tests.support.doubles import MemoryKeyService

ONE, TWO, THREE = "memory-key://one", "memory-key://two", "memory-key://three"
LOCAL = "local:///keyring.json"
CONTEXT = encryption_context("finance", Coordinate("orders", "run", "extract", -1, "k"))


class Park:
    """Key services by URI, shared by the processes of one test."""

    def __init__(self) -> None:
        self.services: dict[str, MemoryKeyService] = {}
        self.missing: set[str] = set()

    def __getitem__(self, uri: str) -> MemoryKeyService:
        # A double answers to the scheme of the local keyring as well: only the name counts here.
        name = "memory-key://local" if uri.startswith("local://") else uri
        return self.services.setdefault(name, MemoryKeyService(name))

    def open(self, uri: str) -> MemoryKeyService:
        """What a process does for its first request to a service."""
        if uri in self.missing:
            raise ConnectionUnknown("no such connection", where=uri)
        return self[uri]

    def process(self) -> DataKeys:
        """The data keys of a process that has asked nothing yet."""
        return DataKeys(300, 100, self.open)

    def asked(self) -> list[str]:
        """The services that were asked to unwrap."""
        return [name for name, service in self.services.items() if service.requests["unwrap_many"]]


@pytest.fixture
def park() -> Park:
    """Services that no process has asked yet."""
    return Park()


def candidates(listed: Sequence[str], wraps: Sequence[tuple[str, str]]) -> Candidates:
    """What the pipeline asks for, of a reference's wraps."""
    return Candidates(openers(listed, wraps), CONTEXT)


def unwrapped(answer: Unwrapped | SecureXComError) -> Unwrapped:
    """The answer; a test that meets an error here shows that error."""
    if isinstance(answer, SecureXComError):
        raise answer
    return answer


# --- push -------------------------------------------------------------------------------------------------------


def test_every_required_key_wraps(park: Park) -> None:
    """A push wraps with every key, once per try, and any one of the wraps opens."""
    key, wraps = park.process().for_try([ONE, TWO], CONTEXT, 1)
    assert [name for name, _ in wraps] == [ONE, TWO]
    for name, wrapped in wraps:
        found = unwrapped(park.process().unwrap_many([candidates([name], [(name, wrapped)])])[0])
        assert (found.data_key, found.uri, found.cached) == (key, name, False)


def test_a_required_key_that_fails_fails_the_push(park: Park) -> None:
    """Without ?wrap=optional a key that does not answer stops the push."""
    park[TWO].unavailable = True
    with pytest.raises(KeyServiceUnavailable):
        park.process().for_try([ONE, TWO], CONTEXT, 1)


@pytest.mark.parametrize("failure", ["unavailable", "denied"])
def test_an_optional_key_may_fail(park: Park, failure: str, caplog: pytest.LogCaptureFixture) -> None:
    """A push goes on without an optional key and says so in the log; the reference does not name the key."""
    setattr(park[TWO], failure, True)
    with caplog.at_level(logging.WARNING):
        _, wraps = park.process().for_try([ONE, f"{TWO}?wrap=optional"], CONTEXT, 1)
    assert [name for name, _ in wraps] == [ONE]
    assert f"The optional key {TWO} did not wrap" in caplog.text
    assert wraps[0][1] not in caplog.text


def test_an_optional_key_is_named_without_its_option(park: Park) -> None:
    """References carry the key's name only, so an option may change later."""
    _, wraps = park.process().for_try([f"{ONE}?wrap=optional"], CONTEXT, 1)
    assert [name for name, _ in wraps] == [ONE]
    listed = [f"{ONE}?wrap=never"]
    assert unwrapped(park.process().unwrap_many([candidates(listed, wraps)])[0]).uri == ONE


def test_one_key_at_least_must_wrap(park: Park) -> None:
    """Where all keys are optional and all fail, the push fails with the last one's error."""
    park[ONE].unavailable = park[TWO].denied = True
    with pytest.raises(KeyServiceDenied):
        park.process().for_try([f"{ONE}?wrap=optional", f"{TWO}?wrap=optional"], CONTEXT, 1)


def test_a_wrong_setting_of_an_optional_key_is_not_forgiven(park: Park) -> None:
    """Optional is for a service that does not answer, not for a connection that nobody made."""
    park.missing.add(TWO)
    with pytest.raises(ConnectionUnknown):
        park.process().for_try([ONE, f"{TWO}?wrap=optional"], CONTEXT, 1)


def test_a_retired_key_only_opens(park: Park) -> None:
    """A key with ?wrap=never is not asked at push, and opens what it wrapped before."""
    _, old = park.process().for_try([ONE], CONTEXT, 1)
    listed = [f"{ONE}?wrap=never", TWO]
    process = park.process()
    _, new = process.for_try(listed, CONTEXT, 2)
    assert [name for name, _ in new] == [TWO]
    assert unwrapped(process.unwrap_many([candidates(listed, old)])[0]).uri == ONE


def test_only_retired_keys_wrap_nothing(park: Park) -> None:
    """A compartment whose keys are all retired cannot be pushed to."""
    with pytest.raises(SettingInvalid, match="wrap=never"):
        park.process().for_try([f"{ONE}?wrap=never"], CONTEXT, 1)


# --- pull -------------------------------------------------------------------------------------------------------


def test_the_local_key_is_asked_first(park: Park) -> None:
    """A local key costs nothing, so it is asked before a service that is listed before it."""
    _, wraps = park.process().for_try([ONE, LOCAL], CONTEXT, 1)
    found = unwrapped(park.process().unwrap_many([candidates([ONE, LOCAL], wraps)])[0])
    assert found.uri == LOCAL
    assert park.asked() == ["memory-key://local"]


def test_a_service_that_is_open_is_asked_before_a_new_one(park: Park) -> None:
    """A service that this process has used already needs no new login, so it is asked first."""
    _, wraps = park.process().for_try([ONE, TWO], CONTEXT, 1)
    process = park.process()
    process.service(TWO)
    assert unwrapped(process.unwrap_many([candidates([ONE, TWO], wraps)])[0]).uri == TWO


def test_among_equals_the_order_given_counts(park: Park) -> None:
    """Services that cost the same are asked in the order of the settings."""
    _, wraps = park.process().for_try([ONE, TWO, THREE], CONTEXT, 1)
    assert unwrapped(park.process().unwrap_many([candidates([THREE, ONE, TWO], wraps)])[0]).uri == THREE
    assert park.asked() == [THREE]


def test_the_next_key_opens_when_one_does_not_answer(park: Park, caplog: pytest.LogCaptureFixture) -> None:
    """A service that is away costs one request, whatever the number of XComs, and the log names it."""
    pushed = [park.process().for_try([ONE, TWO], CONTEXT, number) for number in range(20)]
    park[ONE].unavailable = True
    with caplog.at_level(logging.WARNING):
        answers = park.process().unwrap_many([candidates([ONE, TWO], wraps) for _, wraps in pushed])
    assert [unwrapped(answer).data_key for answer in answers] == [key for key, _ in pushed]
    assert {unwrapped(answer).uri for answer in answers} == {TWO}
    assert park[ONE].requests["unwrap_many"] == park[TWO].requests["unwrap_many"] == 1
    assert caplog.text.count(f"The key {ONE} opened nothing") == 1


def test_a_silent_service_is_asked_last_for_a_while(park: Park) -> None:
    """After a failure the process does not run into the same timeout at every pull."""
    pushed = [park.process().for_try([ONE, TWO], CONTEXT, number) for number in range(3)]
    park[ONE].unavailable = True
    process = park.process()
    for _, wraps in pushed:
        unwrapped(process.unwrap_many([candidates([ONE, TWO], wraps)])[0])
    assert park[ONE].requests["unwrap_many"] == 1


def test_a_key_of_another_worker_is_passed_over(park: Park) -> None:
    """A worker without the connection of one key opens with another."""
    key, wraps = park.process().for_try([ONE, TWO], CONTEXT, 1)
    park.missing.add(ONE)
    assert unwrapped(park.process().unwrap_many([candidates([ONE, TWO], wraps)])[0]).data_key == key


def test_the_first_error_is_told_when_none_opens(park: Park) -> None:
    """Where no key opens, the error is that of the key which was asked first."""
    _, wraps = park.process().for_try([ONE, TWO], CONTEXT, 1)
    park[ONE].denied = park[TWO].unavailable = True
    assert isinstance(park.process().unwrap_many([candidates([ONE, TWO], wraps)])[0], KeyServiceDenied)
    park.missing.add(ONE)
    assert isinstance(park.process().unwrap_many([candidates([ONE, TWO], wraps)])[0], ConnectionUnknown)


def test_one_bad_wrap_spares_the_others(park: Park) -> None:
    """An entry that its first key refuses is tried with its next key; the other entries are not asked again."""
    process = park.process()
    (key, wraps), (other, others) = (park.process().for_try([ONE, TWO], CONTEXT, number) for number in (1, 2))
    park[ONE].failures[wraps[0][1]] = UnwrapRefused("told to", where=ONE)
    answers = process.unwrap_many([candidates([ONE, TWO], wraps), candidates([ONE, TWO], others)])
    assert [(unwrapped(answer).data_key, unwrapped(answer).uri) for answer in answers] == [
        (key, TWO),
        (other, ONE),
    ]
    assert park[TWO].entries["unwrap_many"] == 1


def test_the_same_wrap_is_asked_for_once(park: Park) -> None:
    """Entries with one wrap share one answer, which the cache then gives under the key's name."""
    key, wraps = park.process().for_try([ONE], CONTEXT, 1)
    process = park.process()
    many = [candidates([f"{ONE}?wrap=optional"], wraps)] * 5
    assert [unwrapped(answer).data_key for answer in process.unwrap_many(many)] == [key] * 5
    assert park[ONE].entries["unwrap_many"] == 1
    cached = process.cached(many[0])
    assert cached is not None
    assert (cached.data_key, cached.uri, cached.cached) == (key, ONE, True)


def test_a_push_that_hangs_holds_up_no_pull(park: Park) -> None:
    """While one key service does not answer a wrap, other threads of the process unwrap by another."""
    _, wraps = park.process().for_try([ONE], CONTEXT, 1)
    hangs, ends = threading.Event(), threading.Event()

    class Hanging(MemoryKeyService):
        def wrap(self, data_key: DataKey, context: Mapping[str, str]) -> str:
            hangs.set()
            ends.wait(30)
            return super().wrap(data_key, context)

    park.services[TWO] = Hanging(TWO)
    process = park.process()
    with ThreadPoolExecutor(2) as threads:
        pushing = threads.submit(process.for_try, [TWO], CONTEXT, 1)
        assert hangs.wait(10)
        pulling = threads.submit(process.unwrap_many, [Candidates(wraps, CONTEXT)])
        done, _ = wait([pulling], timeout=10)
        ends.set()
        assert done
        assert isinstance(pulling.result()[0], Unwrapped)
        assert pushing.result()[1][0][0] == TWO


def test_what_was_pushed_here_is_in_the_cache(park: Park) -> None:
    """A process that wrapped a data key does not ask for it again, until it forgets."""
    process = park.process()
    key, wraps = process.for_try([ONE], CONTEXT, 1)
    found = process.cached(candidates([ONE], wraps))
    assert found is not None
    assert found.data_key == key
    process.forget()
    assert process.cached(candidates([ONE], wraps)) is None
    assert process.for_try([ONE], CONTEXT, 1)[0] != key


def test_the_cache_expires_is_sized_and_counts_uses() -> None:
    """A key stays for its time, among so many, for so many uses."""
    now = [0.0]
    cache = DataKeyCache(10, 2, clock=lambda: now[0])
    key = DataKey.generate()
    for name in ("a", "b", "c"):
        cache.put(name, key)
    assert [cache.get(name) is key for name in ("a", "b", "c")] == [False, True, True]
    for _ in range(USES_MAX - 1):
        cache.get("b")
    assert cache.get("b") is None
    now[0] = 10.0
    assert cache.get("c") is None
    assert len(cache) == 0


@pytest.mark.parametrize(("seconds", "size"), [(0, 10), (10, 0)])
def test_no_cache(seconds: float, size: int) -> None:
    """With no time or no room nothing is kept."""
    cache = DataKeyCache(seconds, size)
    cache.put("a", DataKey.generate())
    assert cache.get("a") is None

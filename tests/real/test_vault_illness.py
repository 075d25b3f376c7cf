"""What becomes of a push and a pull when Vault falls ill, with a real Vault behind a proxy that misbehaves."""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import KeyServiceError, KeyServiceUnavailable, SecureXComError
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.core.service_errors import (
    KeyServiceDenied,
    KeyServiceSealed,
    KeyServiceThrottled,
    KeyServiceTimeout,
)
from secure_xcom.keys import DataKey, KeyService, Wrap, key_service
from secure_xcom.keys.vault import VaultTransit
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import store
from tests.support.doubles import MemorySink
from tests.support.key_service_contract import CONTEXT, opened
from tests.support.servers.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.support.servers.vault_realm import Realm, connect, flavours
from tests.support.servers.vault_server import free_port
from tests.support.world import coordinate

# What is ill here is the way to Vault, so one kind of Vault is enough.
pytestmark = [
    pytest.mark.usefixtures("fresh"),
    pytest.mark.parametrize("vault", flavours()[:1], indirect=True, scope="session"),
]

JSON = (("Content-Type", "application/json"),)


def errors(text: str) -> bytes:
    """A body as Vault's errors have it."""
    return json.dumps({"errors": [text]}).encode()


SEALED = Fault("answer", status=503, body=errors("Vault is sealed"), headers=JSON)
STANDBY = Fault(
    "answer", status=500, body=errors("local node not active but active cluster node not found"), headers=JSON
)
THROTTLED = Fault("answer", status=429, body=errors("rate limit quota exceeded"), headers=JSON)
# What it is, what is done to every request, the error's class, and a word of it.
ILLNESSES: dict[str, tuple[Fault, type[KeyServiceError], str]] = {
    "sealed": (SEALED, KeyServiceSealed, "unseal it"),
    "standby": (STANDBY, KeyServiceUnavailable, "standby"),
    "standby by status": (Fault("answer", status=473, body=b"{}", headers=JSON), KeyServiceUnavailable, "standby"),
    "internal error": (Fault("answer", status=500, body=errors("x"), headers=JSON), KeyServiceUnavailable, "500"),
    "bad gateway": (Fault("answer", status=502, body=b"<html>"), KeyServiceUnavailable, "502"),
    "not ready": (Fault("answer", status=412, body=errors("x"), headers=JSON), KeyServiceUnavailable, "412"),
    "a page of somebody else": (Fault("answer", status=200, body=b"<html>"), KeyServiceUnavailable, "not Vault"),
    "rate limit": (THROTTLED, KeyServiceThrottled, "rate limit quota"),
    "dropped": (Fault("drop"), KeyServiceUnavailable, "connection to Vault failed"),
    "cut in mid-answer": (Fault("cut", after=20), KeyServiceUnavailable, "cut"),
    "late": (Fault("wait", seconds=0.5), KeyServiceTimeout, "in time"),
    "dripping": (Fault("drip", seconds=0.02), KeyServiceTimeout, "in time"),
}


@pytest.fixture
def proxy(realm: Realm) -> Iterator[FaultyProxy]:
    """What stands between."""
    with faulty_proxy(realm.server.address) as found:
        yield found


@pytest.fixture
def key(realm: Realm) -> str:
    """A derived key."""
    return realm.new_key()


@pytest.fixture
def service(realm: Realm, key: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> VaultTransit:
    """The key behind the proxy, with little patience, and logged in already."""
    conn_id = connect(
        monkeypatch,
        realm.server,
        address=proxy.endpoint,
        password=realm.server.token,
        client_kwargs={"timeout": 0.3},
    )
    service = VaultTransit(realm.uri(conn_id, key))
    service.wrap(DataKey.generate(), CONTEXT)
    proxy.seen.clear()
    return service


@pytest.mark.parametrize("name", ILLNESSES)
def test_an_illness_that_lasts(service: VaultTransit, proxy: FaultyProxy, name: str) -> None:
    """It ends in one named error that names connection, key and cure, after a bounded number of attempts."""
    fault, family, word = ILLNESSES[name]
    proxy.faults = [fault] * 10
    began = time.monotonic()
    with pytest.raises(KeyServiceError, match=word) as caught:
        service.wrap(DataKey.generate(), CONTEXT)
    assert type(caught.value) is family
    assert service.uri in str(caught.value)
    assert "What to do:" in str(caught.value)
    assert caught.value.__cause__ is None
    # VAULT_MAX_RETRIES is 1 here.
    assert len(proxy.seen) == 2
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", ILLNESSES)
def test_an_illness_that_passes(service: VaultTransit, proxy: FaultyProxy, name: str) -> None:
    """After one failure the same request succeeds, and nobody notices."""
    fault, _, _ = ILLNESSES[name]
    data_key = DataKey.generate()
    proxy.faults = [fault]
    wrapped = service.wrap(data_key, CONTEXT)
    proxy.faults = [fault]
    assert opened(service.unwrap_many([Wrap(wrapped, CONTEXT)])[0]) == data_key.secret
    proxy.faults = [fault]
    assert isinstance(service.rewrap_many([Wrap(wrapped, CONTEXT)])[0], str)
    assert proxy.faults == []


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_refusals_are_not_repeated(service: VaultTransit, proxy: FaultyProxy, status: int) -> None:
    """A request that Vault refuses is sent once."""
    proxy.faults = [Fault("answer", path="/encrypt/", status=status, body=errors("no"), headers=JSON)] * 5
    with pytest.raises(KeyServiceError):
        service.wrap(DataKey.generate(), CONTEXT)
    assert sum("/encrypt/" in line for line in proxy.seen) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"data": null}',
        b'{"data": {"ciphertext": 7}}',
        b'{"data": {"ciphertext": "vault:v1:"}}',
        b'{"data": {"batch_results": []}}',
        b'{"data": {"batch_results": [1]}}',
        b'{"data": {"batch_results": [{}]}}',
        b'{"data": {"batch_results": [{"plaintext": "AAAA", "ciphertext": "x"}]}}',
    ],
)
def test_answers_that_are_none(service: VaultTransit, proxy: FaultyProxy, body: bytes) -> None:
    """An answer of success without what was asked for is an error of our tree, never a value."""
    wrap = Wrap(service.wrap(DataKey.generate(), CONTEXT), CONTEXT)
    for _ in range(3):
        proxy.faults = [Fault("answer", status=200, body=body, headers=JSON)] * 2
        with pytest.raises(KeyServiceError):
            service.wrap(DataKey.generate(), CONTEXT)
    proxy.faults = [Fault("answer", status=200, body=body, headers=JSON)] * 2
    try:
        answers: list[Any] = [*service.unwrap_many([wrap])]
        proxy.faults = [Fault("answer", status=200, body=body, headers=JSON)] * 2
        answers += service.rewrap_many([wrap])
    except KeyServiceError as error:
        answers = [error]
    assert [answer for answer in answers if not isinstance(answer, KeyServiceError)] == []


def test_vault_says_when_to_come_back(service: VaultTransit, proxy: FaultyProxy) -> None:
    """Where Vault names the time after which it takes requests again, no request goes out before."""
    proxy.faults = [Fault("answer", status=429, body=b"{}", headers=(*JSON, ("Retry-After", "1")))]
    began = time.monotonic()
    service.wrap(DataKey.generate(), CONTEXT)
    assert time.monotonic() - began >= 1


def test_nobody_listens(realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is named, for a login through the hook as for a token."""
    logins: tuple[dict[str, Any], ...] = ({}, {"auth_type": "approle"}, {"auth_type": "userpass"})
    for extra in logins:
        conn_id = connect(
            monkeypatch,
            realm.server,
            address=f"http://127.0.0.1:{free_port()}",
            login="role",
            password="of-nobody",
            **extra,
        )
        with pytest.raises(KeyServiceUnavailable, match="the connection to Vault failed"):
            key_service(realm.uri(conn_id, key)).wrap(DataKey.generate(), CONTEXT)


def test_silence_is_bounded(realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that takes connections and never says a word costs the time-out for each attempt, and no more."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        conn_id = connect(
            monkeypatch,
            realm.server,
            address=f"http://127.0.0.1:{silent.getsockname()[1]}",
            password="of-nobody",
            client_kwargs={"timeout": 0.3},
        )
        began = time.monotonic()
        with pytest.raises(KeyServiceTimeout, match="VAULT_CLIENT_TIMEOUT"):
            key_service(realm.uri(conn_id, key)).wrap(DataKey.generate(), CONTEXT)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("name", ["sealed", "internal error", "dropped", "rate limit"])
def test_a_login_that_meets_an_illness(
    realm: Realm, key: str, proxy: FaultyProxy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login by the hook is repeated where that can help, and else fails by the same name."""
    fault, family, _ = ILLNESSES[name]
    mount = f"sxt-{uuid.uuid4().hex[:8]}"
    realm.server.do("POST", f"sys/auth/{mount}", {"type": "userpass"})
    realm.made.append(f"sys/auth/{mount}")
    policy = realm.policy(f'path "{realm.transit}/encrypt/{key}" {{ capabilities = ["update"] }}')
    realm.server.do("POST", f"auth/{mount}/users/u", {"password": "of-a-user", "token_policies": [policy]})
    conn_id = connect(
        monkeypatch,
        realm.server,
        address=proxy.endpoint,
        login="u",
        password="of-a-user",
        auth_type="userpass",
        auth_mount_point=mount,
    )
    service = key_service(realm.uri(conn_id, key))
    proxy.faults = [fault] * 4
    with pytest.raises(family):
        service.wrap(DataKey.generate(), CONTEXT)
    proxy.faults = [fault]
    assert service.wrap(DataKey.generate(), CONTEXT)


def test_a_real_rate_limit(realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a quota of Vault's own, a burst is answered late but whole; without patience it fails by name."""
    quota = f"sys/quotas/rate-limit/sxt-{uuid.uuid4().hex[:8]}"
    # Quotas are made in the root namespace, also for paths of others.
    root = replace(realm.server, namespace="")
    root.do("POST", quota, {"rate": 2, "path": f"{realm.server.namespace}/{realm.transit}/".lstrip("/")})
    try:
        impatient, patient = (_with_retries(realm, key, number, monkeypatch) for number in ("0", "20"))
        with pytest.raises(KeyServiceThrottled):
            _burst(impatient, 20)
        _burst(patient, 4)
    finally:
        root.do("DELETE", quota)


def _with_retries(realm: Realm, key: str, retries: str, monkeypatch: pytest.MonkeyPatch) -> KeyService:
    monkeypatch.setenv("VAULT_MAX_RETRIES", retries)
    return key_service(realm.uri(connect(monkeypatch, realm.server, password=realm.server.token), key))


def _burst(service: KeyService, count: int) -> None:
    for _ in range(count):
        service.wrap(DataKey.generate(), CONTEXT)


class TestTheWholeWay:
    """Push and pull through the pipeline: closed on failure, and nothing half-written."""

    @pytest.fixture
    def sink(self) -> MemorySink:
        return MemorySink()

    @pytest.fixture
    def pipeline(self, service: VaultTransit, sink: MemorySink) -> Pipeline:
        """One compartment with the key behind the proxy and a store in memory."""
        return self.process(service.uri, f"memory://{uuid.uuid4().hex}", sink)

    def process(self, key_uri: str, store_uri: str, sink: MemorySink) -> Pipeline:
        return Pipeline(
            Settings(),
            AccessPolicy.single([key_uri], store_uri),
            AccessLog([sink], version="test"),
            SensitiveNames(set()),
            Codecs(lambda value: value, lambda structure: structure),
            register=lambda secrets: None,
        )

    @pytest.mark.parametrize("name", ["sealed", "dropped", "rate limit", "late"])
    def test_a_push_leaves_nothing(
        self, pipeline: Pipeline, proxy: FaultyProxy, sink: MemorySink, name: str
    ) -> None:
        """A push whose wrap fails gives no reference and leaves no object; the next one succeeds."""
        proxy.faults = [ILLNESSES[name][0]] * 2
        with pytest.raises(KeyServiceUnavailable):
            pipeline.push([Push(coordinate(), "canary")])
        kept = store(pipeline.policy.compartments[0].store_uri)
        assert list(kept.list()) == []
        reference = pipeline.push([Push(coordinate(), "canary")])[0]
        assert pipeline.pull([Row(reference)]) == ["canary"]
        assert len(list(kept.list())) == 1

    @pytest.mark.parametrize("name", ["sealed", "dropped", "late"])
    def test_a_pull_gives_nothing(
        self, pipeline: Pipeline, proxy: FaultyProxy, service: VaultTransit, sink: MemorySink, name: str
    ) -> None:
        """A pull whose unwrap fails gives an error and no value; later it gives the value."""
        reference = pipeline.push([Push(coordinate(), "canary")])[0]
        other = self.process(service.uri, pipeline.policy.compartments[0].store_uri, sink)
        proxy.faults = [ILLNESSES[name][0]] * 2
        with pytest.raises(KeyServiceUnavailable) as caught:
            other.pull([Row(reference)])
        assert "canary" not in str(caught.value)
        assert other.pull([Row(reference)]) == ["canary"]

    def test_a_key_that_was_denied_in_between(
        self, realm: Realm, key: str, sink: MemorySink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When an operator takes the right away, the next pull is refused and audited as refused."""
        operations = "\n".join(
            f'path "{realm.transit}/{word}/{key}" {{ capabilities = ["update"] }}'
            for word in ("encrypt", "decrypt")
        )
        policy = realm.policy(operations)
        conn_id = connect(monkeypatch, realm.server, password=realm.server.new_token(policy))
        store_uri = f"memory://{uuid.uuid4().hex}"
        pusher, puller = (self.process(realm.uri(conn_id, key), store_uri, sink) for _ in range(2))
        reference = pusher.push([Push(coordinate(), "canary")])[0]
        realm.server.do("PUT", f"sys/policies/acl/{policy}", {"policy": "# nothing"})
        with pytest.raises(KeyServiceDenied):
            puller.pull([Row(reference)])

    def test_requests_of_a_task(
        self, pipeline: Pipeline, service: VaultTransit, proxy: FaultyProxy, sink: MemorySink
    ) -> None:
        """A task that pushes 20 XComs and pulls 20 of one upstream task makes two requests to Vault."""
        upstream = pipeline.push(
            [Push(coordinate(task_id="upstream", key=f"k{number}"), number) for number in range(20)]
        )
        task = self.process(service.uri, pipeline.policy.compartments[0].store_uri, sink)
        proxy.seen.clear()
        for reference in upstream:
            task.pull([Row(reference)])
        for number in range(20):
            task.push([Push(coordinate(key=f"k{number}"), number)])
        assert [line.split("/")[-2] for line in proxy.seen] == ["decrypt", "encrypt"]

    def test_a_second_key_opens_while_vault_is_away(
        self,
        realm: Realm,
        service: VaultTransit,
        proxy: FaultyProxy,
        sink: MemorySink,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """With a second key URI in the compartment a pull survives the loss of the first Vault."""
        conn_id = connect(monkeypatch, realm.server, password=realm.server.token)
        second = realm.uri(conn_id, realm.new_key())
        store_uri = f"memory://{uuid.uuid4().hex}"

        def process() -> Pipeline:
            return Pipeline(
                Settings(),
                AccessPolicy.single([service.uri, second], store_uri),
                AccessLog([sink], version="test"),
                SensitiveNames(set()),
                Codecs(lambda value: value, lambda structure: structure),
                register=lambda secrets: None,
            )

        reference = process().push([Push(coordinate(), "canary")])[0]
        proxy.faults = [SEALED] * 50
        assert process().pull([Row(reference)]) == ["canary"]
        with pytest.raises(SecureXComError):
            # A push must be wrapped by every key, so that none of them is missing when it is needed.
            process().push([Push(coordinate(), "canary")])

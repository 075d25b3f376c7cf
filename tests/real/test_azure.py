"""Azure Blob Storage against Azurite: the contract, each login of WasbHook that it has, and faults."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from secure_xcom.core.errors import ObjectExists, StoreError
from secure_xcom.core.store_errors import StoreDenied, StoreUnavailable
from secure_xcom.stores import Store, store
from tests.support.clients_agree import LARGE as LARGE_PAYLOAD
from tests.support.clients_agree import SMALL, assert_no_variable_matters, requests_of
from tests.support.servers.azurite import BlobServer, azurite
from tests.support.servers.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.support.store_contract import StoreContract

LARGE = [bytes([number]) * (1 << 20) for number in range(20)]


@pytest.fixture(scope="module")
def server() -> Iterator[BlobServer]:
    """One server for this file."""
    pytest.importorskip("airflow.providers.microsoft.azure", reason="install secure-xcom[azure]")
    with azurite() as found:
        yield found


@pytest.fixture(scope="module")
def container(server: BlobServer) -> str:
    """One container for this file; tests keep to prefixes of their own."""
    return server.make_container()


@pytest.fixture
def prefix() -> str:
    """A prefix of its own for each test."""
    return f"test/{uuid.uuid4().hex}"


@pytest.fixture
def proxy(server: BlobServer) -> Iterator[FaultyProxy]:
    """A proxy in front of the server, without faults at first."""
    host, _, account = server.endpoint.rpartition("/")
    with faulty_proxy(host) as found:
        found.endpoint += f"/{account}"
        yield found


def connect(monkeypatch: pytest.MonkeyPatch, endpoint: str, account: str, key: str | None, **extra: Any) -> str:
    """An Airflow connection in the environment."""
    conn_id = f"az_{uuid.uuid4().hex[:8]}"
    connection = {"conn_type": "wasb", "login": account, "password": key, "host": endpoint, "extra": extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    return conn_id


class TestContract(StoreContract):
    @pytest.fixture
    def store(self, server: BlobServer, container: str, monkeypatch: pytest.MonkeyPatch) -> Store:
        """Below a prefix, with the account's key in a connection."""
        return store(f"abfs://{connect(monkeypatch, server.endpoint, server.account, server.key)}@{container}/pre")


@pytest.mark.parametrize("login", ["connection_string", "shared_access_key", "account_key", "sas_token"])
def test_logins(
    server: BlobServer, container: str, prefix: str, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each login of the connection that Azurite knows opens the container, for small and large payloads."""
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    sas = generate_account_sas(
        server.account,
        server.key,
        ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions(read=True, write=True, create=True, add=True, list=True, delete=True),
        datetime.now(timezone.utc) + timedelta(hours=1),
    )
    extra = {
        "connection_string": (
            f"DefaultEndpointsProtocol=http;AccountName={server.account};AccountKey={server.key};"
            f"BlobEndpoint={server.endpoint};"
        ),
        "shared_access_key": server.key,
        "account_key": server.key,
        "sas_token": sas,
    }[login]
    conn_id = connect(monkeypatch, server.endpoint, server.account, None, **{login: extra})
    mine = store(f"abfs://{conn_id}@{container}/{prefix}")
    mine.put("small", [b"sealed"])
    mine.put("large", LARGE)
    assert list(mine.get_many(["small", "large"])) == [b"sealed", b"".join(LARGE)]
    if login != "sas_token":  # Azurite answers 500 to a batch of deletes with a SAS, to Azure's own client too.
        assert mine.delete_many(["small", "large"]) == [None, None]


def test_no_variable_comes_behind_what_is_configured(
    server: BlobServer, container: str, prefix: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever variable of obstore a worker has, all payloads go to the same place, signed the same."""
    uri = f"abfs://{connect(monkeypatch, proxy.endpoint, server.account, server.key)}@{container}/{prefix}"
    with faulty_proxy(server.endpoint.rpartition("/")[0]) as elsewhere:
        # Azure's own SDK takes one proxy for all requests, and so does the other client.
        without = frozenset({"ALL_PROXY"})
        assert_no_variable_matters("AZURE_", uri, proxy, elsewhere, monkeypatch, without=without)


def test_an_endpoint_of_the_uri_comes_before_the_connections(
    server: BlobServer, container: str, prefix: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small and large payloads both go to the endpoint that the URI names, and not to the connection's."""
    conn_id = connect(monkeypatch, f"http://127.0.0.1:9/{server.account}", server.account, server.key)
    uri = f"abfs://{conn_id}@{container}/{prefix}?endpoint={proxy.endpoint}"
    assert requests_of(uri, proxy, {**SMALL, **LARGE_PAYLOAD})


def test_default_credentials(
    server: BlobServer, container: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a connection the account is named by an option and its key by the environment."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", server.key)
    mine = store(f"abfs://{container}/{prefix}?account={server.account}&endpoint={server.endpoint}")
    mine.put("small", [b"sealed"])
    mine.put("large", LARGE)
    assert list(mine.get_many(["small", "large"])) == [b"sealed", b"".join(LARGE)]


def test_writer_cannot_read(server: BlobServer, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SAS token that may only create cannot read, list or replace what it wrote."""
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    container = server.make_container()
    sas = generate_container_sas(
        server.account,
        container,
        server.key,
        permission=ContainerSasPermissions(create=True),
        expiry=datetime.now(timezone.utc) + timedelta(hours=1),
    )
    conn_id = connect(monkeypatch, server.endpoint, server.account, None, sas_token=sas)
    mine = store(f"abfs://{conn_id}@{container}/{prefix}")
    mine.put("small", [b"sealed"])
    for call in (lambda: mine.get("small"), lambda: list(mine.list())):
        with pytest.raises(StoreDenied):
            call()
    # The permission itself is to create only, so Azure refuses before it looks at the condition.
    with pytest.raises(StoreDenied):
        mine.put("small", [b"other"])


def test_missing_container(server: BlobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that does not exist is an unavailable store for every method."""
    conn_id = connect(monkeypatch, server.endpoint, server.account, server.key)
    mine = store(f"abfs://{conn_id}@absent-{uuid.uuid4().hex}")
    for call in (
        lambda: mine.put("a", [b"x"]),
        lambda: mine.put("a", LARGE),
        lambda: mine.get("a"),
        lambda: list(mine.list()),
    ):
        with pytest.raises(StoreUnavailable, match="container does not exist"):
            call()


def test_wrong_key(server: BlobServer, container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong account key is StoreDenied for small and large payloads."""
    wrong = "A" * 86 + "=="
    mine = store(f"abfs://{connect(monkeypatch, server.endpoint, server.account, wrong)}@{container}")
    for payload in ([b"x"], LARGE):
        with pytest.raises(StoreDenied) as caught:
            mine.put("a", payload)
        assert wrong not in str(caught.value)


@pytest.mark.parametrize("payload", [[b"sealed"], LARGE], ids=["small", "large"])
def test_lost_answer_of_a_put(
    server: BlobServer,
    container: str,
    prefix: str,
    payload: list[bytes],
    proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A put that the server did and whose answer was lost finds its own blob and succeeds."""
    conn_id = connect(monkeypatch, proxy.endpoint, server.account, server.key)
    mine = store(f"abfs://{conn_id}@{container}/{prefix}")
    proxy.faults.append(Fault("lose", "PUT", path="comp=blocklist" if len(payload) > 1 else ""))
    mine.put("a", payload)
    assert proxy.faults == []
    assert b"".join(mine.get("a")) == b"".join(payload)
    with pytest.raises(ObjectExists):
        mine.put("a", [b"another"])


@pytest.mark.parametrize("payload", [[b"sealed"], LARGE], ids=["small", "large"])
def test_a_slow_answer_is_waited_for_as_long_as_told(
    server: BlobServer, container: str, payload: list[bytes], proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time-out and the retries of the store URI hold for small and for large puts."""
    conn_id = connect(monkeypatch, proxy.endpoint, server.account, server.key)
    mine = store(f"abfs://{conn_id}@{container}/slow?timeout=1&retries=0")
    proxy.faults += [Fault("wait", "PUT", seconds=5)] * 3
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        mine.put(uuid.uuid4().hex, payload)
    assert time.monotonic() - began < 5
    # The small one, or each of the large one's three parts, once.
    assert len(proxy.seen) == len(payload) // 8 + 1


def test_failed_large_put_leaves_nothing(
    server: BlobServer, container: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When sealing fails in the middle of a large payload there is no blob, and a later put to the path works."""

    def pieces() -> Iterator[bytes]:
        yield from LARGE
        raise RuntimeError("sealing failed")

    mine = store(
        f"abfs://{connect(monkeypatch, server.endpoint, server.account, server.key)}@{container}/{prefix}"
    )
    with pytest.raises(RuntimeError, match="sealing failed"):
        mine.put("a", pieces())
    assert list(mine.list()) == []
    mine.put("a", LARGE)
    assert b"".join(mine.get("a")) == b"".join(LARGE)


@pytest.mark.parametrize(
    ("status", "code", "expected", "said"),
    [
        (403, "AuthorizationPermissionMismatch", StoreDenied, "policy compile"),
        (403, "AuthenticationFailed", StoreDenied, "clock"),
        (409, "ContainerBeingDeleted", StoreUnavailable, "being deleted"),
        (400, "InvalidHeaderValue", StoreUnavailable, "InvalidHeaderValue, HTTP 400"),
    ],
)
def test_answers(
    server: BlobServer,
    container: str,
    prefix: str,
    status: int,
    code: str,
    expected: type[StoreError],
    said: str,
    proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each answer of Azure becomes its own error, for gets and for large puts."""
    conn_id = connect(monkeypatch, proxy.endpoint, server.account, server.key)
    mine = store(f"abfs://{conn_id}@{container}/{prefix}")
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>SECRET</Message></Error>".encode()
    for call in (lambda: mine.get("a"), lambda: mine.put("a", LARGE)):
        proxy.faults = [Fault("answer", status=status, body=body)] * 20
        with pytest.raises(expected, match=said) as caught:
            call()
        assert "SECRET" not in str(caught.value)

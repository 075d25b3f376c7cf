"""Vault KV version 2 as a store, on real servers."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from random import Random
from typing import Any

import hvac
import pytest

from secure_xcom.core.errors import ObjectExists, ObjectMissing, UriInvalid
from secure_xcom.core.service_errors import PayloadTooLarge
from secure_xcom.core.store_errors import StoreDenied, StoreUnavailable
from secure_xcom.keys import DataKey
from secure_xcom.keys.vault import VaultTransit
from secure_xcom.ops.service_policies.vault_grants import kv_grant
from secure_xcom.stores import Store, store
from secure_xcom.stores.vault_kv import PAYLOAD_MAX_BYTES
from secure_xcom.stores.vault_kv_uri import split_uri
from tests.support.key_service_contract import CONTEXT
from tests.support.servers.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.support.servers.vault_realm import Realm, connect
from tests.support.store_contract import StoreContract

pytestmark = pytest.mark.usefixtures("fresh")

EVERYTHING = (
    'path "{kv}/data/xcom/*" {{ capabilities = ["create", "update", "read"] }}\n'
    'path "{kv}/metadata/xcom/*" {{ capabilities = ["list", "delete"] }}\n'
    'path "{kv}/metadata/xcom" {{ capabilities = ["list"] }}\n'
)


def open_store(realm: Realm, monkeypatch: pytest.MonkeyPatch, grant: str, **connection: Any) -> Store:
    """The store of an identity with this policy."""
    conn_id = connect(monkeypatch, realm.server, password=realm.may(grant), **connection)
    return store(realm.store_uri(conn_id))


class TestContract(StoreContract):
    """Vault KV keeps the contract of stores, but for large payloads, which it refuses."""

    @pytest.fixture
    def store(self, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
        found = open_store(realm, monkeypatch, EVERYTHING.format(kv=realm.kv))
        yield found
        found.delete_many([entry.path for entry in found.list()])

    def test_large_payload(self, store: Store, folder: str) -> None:
        """256 KiB come back byte for byte; one byte more is refused, and there is no object."""
        data = Random(5).randbytes(PAYLOAD_MAX_BYTES)
        store.put(f"{folder}/large", [data])
        assert b"".join(store.get(f"{folder}/large")) == data
        with pytest.raises(PayloadTooLarge, match="limit of 262144 bytes"):
            store.put(f"{folder}/larger", [data, b"x"])
        with pytest.raises(ObjectMissing):
            store.get(f"{folder}/larger")

    def test_never_overwrites_with_a_large_payload(self, store: Store, folder: str) -> None:
        """The first payload stays when the second is the largest that is taken."""
        store.put(f"{folder}/once", [b"first"])
        with pytest.raises(ObjectExists):
            store.put(f"{folder}/once", [bytes(PAYLOAD_MAX_BYTES)])
        assert b"".join(store.get(f"{folder}/once")) == b"first"

    def test_get_many_large_between_small(self, store: Store, folder: str) -> None:
        """The largest payloads keep their place among small ones."""
        store.put(f"{folder}/small", [b"s"])
        store.put(f"{folder}/large", [bytes(PAYLOAD_MAX_BYTES)])
        answer = list(store.get_many([f"{folder}/small", f"{folder}/large", f"{folder}/small"]))
        assert answer == [b"s", bytes(PAYLOAD_MAX_BYTES), b"s"]

    def test_get_many_of_longer_large_objects(self, store: Store, folder: str) -> None:
        """The largest payload is cut like any other that is longer than its size."""
        store.put(f"{folder}/large", [bytes(PAYLOAD_MAX_BYTES)])
        answer = store.get_many([f"{folder}/large"] * 2, [PAYLOAD_MAX_BYTES, 100])
        assert list(answer) == [bytes(PAYLOAD_MAX_BYTES), bytes(101)]

    def test_get_can_be_left(self, store: Store, folder: str) -> None:
        """A reader that stops leaves nothing open, and can begin again."""
        store.put(f"{folder}/one", [b"x" * 100_000])
        pieces = store.get(f"{folder}/one")
        del pieces
        assert sum(map(len, store.get(f"{folder}/one"))) == 100_000


@pytest.fixture
def own(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store of an identity that may do everything below its prefix."""
    return open_store(realm, monkeypatch, EVERYTHING.format(kv=realm.kv))


def test_a_purge_destroys_every_version(realm: Realm, own: Store) -> None:
    """After a delete neither the entry, nor a version of it, nor its metadata is left in Vault."""
    own.put("purged/object", [b"sealed"])
    path = f"{realm.kv}/data/xcom/purged/object"
    # A second version, as somebody with more rights could have written it.
    realm.server.do("POST", path, {"data": {"payload": "AAAA"}})
    assert own.delete_many(["purged/object"]) == [None]
    for version in ("", "?version=1", "?version=2"):
        assert realm.server.api("GET", path + version).status_code == 404
    assert realm.server.api("GET", path.replace("/data/", "/metadata/")).status_code == 404


def test_a_deleted_version_is_missing_and_not_put_again(realm: Realm, own: Store) -> None:
    """An entry that somebody deleted by hand is missing, listed so that it can be purged, never overwritten."""
    own.put("soft/object", [b"sealed"])
    realm.server.do("DELETE", f"{realm.kv}/data/xcom/soft/object")
    with pytest.raises(ObjectMissing):
        own.get("soft/object")
    with pytest.raises(ObjectExists):
        own.put("soft/object", [b"again"])
    assert [(entry.path, entry.size) for entry in own.list("soft")] == [("soft/object", 0)]
    assert own.delete_many(["soft/object"]) == [None]
    own.put("soft/object", [b"again"])


def test_an_entry_that_is_none_of_ours(realm: Realm, own: Store) -> None:
    """What others keep below the prefix is never taken for a payload, and not listed as one."""
    for name, data in (("a", {"password": "x"}), ("b", {"payload": "%%%"}), ("c", {"payload": 7}), ("d", {})):
        realm.server.do("POST", f"{realm.kv}/data/xcom/foreign/{name}", {"data": data})
        with pytest.raises(ObjectMissing, match="not a payload of secure_xcom"):
            own.get(f"foreign/{name}")
    assert list(own.list("foreign")) == []


def test_what_lies_there_is_base64_of_the_payload(realm: Realm, own: Store) -> None:
    """The entry can be read with Vault's own command: one field, base64."""
    own.put("plain/look", [b"sea", b"led"])
    data = realm.server.do("GET", f"{realm.kv}/data/xcom/plain/look")["data"]["data"]
    assert data == {"payload": base64.b64encode(b"sealed").decode()}


class TestIdentities:
    def test_a_writer_creates_and_does_no_more(self, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the writer's policy a payload is put once; Vault itself refuses to overwrite, read and list it."""
        token = realm.may(kv_grant("writer", realm.kv, "xcom"))
        found = store(realm.store_uri(connect(monkeypatch, realm.server, password=token)))
        found.put("roles/one", [b"sealed"])
        with pytest.raises(StoreDenied, match="the object already exists"):
            found.put("roles/one", [b"other"])
        with pytest.raises(StoreDenied):
            found.get("roles/one")
        with pytest.raises(StoreDenied):
            list(found.list())
        client = hvac.Client(url=realm.server.address, token=token, namespace=realm.server.namespace or None)
        with pytest.raises(hvac.exceptions.Forbidden):
            client.secrets.kv.v2.create_or_update_secret("xcom/roles/one", {"payload": ""}, mount_point=realm.kv)
        assert found.delete_many(["roles/one"]) == [None]

    def test_a_reader_reads_and_does_no_more(
        self, realm: Realm, own: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the reader's policy a payload is got; putting, deleting and listing are denied."""
        own.put("roles/two", [b"sealed"])
        found = open_store(realm, monkeypatch, kv_grant("reader", realm.kv, "xcom"))
        assert list(found.get_many(["roles/two"])) == [b"sealed"]
        with pytest.raises(StoreDenied):
            found.put("roles/three", [b"x"])
        assert isinstance(found.delete_many(["roles/two"])[0], StoreDenied)
        with pytest.raises(StoreDenied):
            list(found.list())

    def test_maintenance_lists_and_deletes(
        self, realm: Realm, own: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the maintenance policy payloads are listed and destroyed, and none can be put."""
        own.put("roles/four", [b"sealed"])
        found = open_store(realm, monkeypatch, kv_grant("maintenance", realm.kv, "xcom"))
        assert [entry.path for entry in found.list("roles/four")] == ["roles/four"]
        assert "roles/four" in {entry.path for entry in found.list()}
        with pytest.raises(StoreDenied):
            found.put("roles/five", [b"x"])
        assert found.delete_many(["roles/four"]) == [None]

    def test_a_compartment_is_kept_apart(self, realm: Realm, own: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """A policy for one compartment's folder opens no other one's."""
        own.put("finance/dag/one", [b"sealed"])
        own.put("hr/dag/one", [b"sealed"])
        found = open_store(realm, monkeypatch, kv_grant("reader", realm.kv, "xcom", "finance"))
        assert b"".join(found.get("finance/dag/one")) == b"sealed"
        with pytest.raises(StoreDenied):
            found.get("hr/dag/one")


class TestFaults:
    @pytest.fixture
    def proxy(self, realm: Realm) -> Iterator[FaultyProxy]:
        with faulty_proxy(realm.server.address) as found:
            yield found

    @pytest.fixture
    def behind(self, realm: Realm, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Store:
        """The store behind a proxy that misbehaves."""
        return open_store(realm, monkeypatch, EVERYTHING.format(kv=realm.kv), address=proxy.endpoint)

    def test_a_put_whose_answer_is_lost_is_not_refused_as_a_second_one(
        self, behind: Store, proxy: FaultyProxy
    ) -> None:
        """The entry that the first attempt wrote is recognized by its bytes."""
        proxy.faults = [Fault("lose", path="/data/")]
        behind.put("faults/lost", [b"sealed"])
        assert b"".join(behind.get("faults/lost")) == b"sealed"

    def test_another_payload_is_not_taken_for_it(self, behind: Store, own: Store, proxy: FaultyProxy) -> None:
        """Where another payload stands at the path, a repeated put is refused."""
        own.put("faults/other", [b"other"])
        proxy.faults = [Fault("drop", path="/data/")]
        with pytest.raises(ObjectExists):
            behind.put("faults/other", [b"sealed"])
        assert b"".join(own.get("faults/other")) == b"other"

    def test_a_writer_that_may_not_read_cannot_tell(
        self, realm: Realm, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A writer without the right to read fails with a named error, and its task pushes to another path."""
        found = open_store(realm, monkeypatch, kv_grant("writer", realm.kv, "xcom"), address=proxy.endpoint)
        proxy.faults = [Fault("lose", path="/data/")]
        with pytest.raises(StoreDenied, match="the object already exists"):
            found.put("faults/blind", [b"sealed"])

    def test_no_store_at_all(self, behind: Store, proxy: FaultyProxy) -> None:
        """When Vault stays away, every method says so, and get_many says it in each place."""
        sealed = b'{"errors":["Vault is sealed"]}'
        proxy.faults = [
            Fault("answer", path=f"/{kind}/", body=sealed) for kind in ("data", "metadata") for _ in range(20)
        ]
        with pytest.raises(StoreUnavailable, match="sealed"):
            behind.put("faults/one", [b"x"])
        with pytest.raises(StoreUnavailable, match="sealed"):
            behind.get("faults/one")
        assert [type(one) for one in behind.get_many(["a", "b"])] == [StoreUnavailable] * 2
        assert [type(one) for one in behind.delete_many(["a"])] == [StoreUnavailable]
        with pytest.raises(StoreUnavailable, match="sealed"):
            list(behind.list())


def test_a_missing_mount_is_named(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount that is not there says so for every method, and is never taken for an empty store."""
    conn_id = connect(monkeypatch, realm.server, password=realm.server.token)
    found = store(f"vault-kv://{conn_id}/nothing/here")
    for attempt in (
        lambda: found.put("a", [b"x"]),
        lambda: found.get("a"),
        lambda: list(found.list()),
    ):
        with pytest.raises(StoreUnavailable, match="nothing at the mount"):
            attempt()


def test_one_login_serves_keys_and_store(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key URI and a store URI of one connection share its login: it is made once."""
    key = realm.new_key()
    with faulty_proxy(realm.server.address) as proxy:
        conn_id = connect(monkeypatch, realm.server, address=proxy.endpoint, password=realm.server.token)
        service, found = VaultTransit(realm.uri(conn_id, key)), store(realm.store_uri(conn_id))
        service.wrap(DataKey.generate(), CONTEXT)
        found.put("shared/login", [b"x"])
        assert sum("lookup-self" in line for line in proxy.seen) == 1


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("vault-kv://c/secret/xcom", ("c", "secret", "xcom")),
        ("vault-kv://c/secret/data/xcom", ("c", "secret", "xcom")),
        ("vault-kv://c/secret/team/xcom", ("c", "secret", "team/xcom")),
        ("vault-kv://c/team/secret/data/a/b", ("c", "team/secret", "a/b")),
        ("vault-kv://c/data/data/x", ("c", "data", "x")),
        ("vault-kv://c/data/x", ("c", "data", "x")),
        ("vault-kv://default/kv/x/data/data/y", ("default", "kv/x", "data/y")),
    ],
)
def test_mount_and_prefix(uri: str, parts: tuple[str, str, str]) -> None:
    """Without `data` the mount is one segment; with it, everything before it."""
    assert split_uri(uri) == parts


@pytest.mark.parametrize(
    "uri",
    [
        "vault-kv://",
        "vault-kv://c",
        "vault-kv://c/secret",
        "vault-kv://c/secret/",
        "vault-kv://c/secret/data",
        "vault-kv://c/secret/../x",
        "vault-kv://c//secret/x",
        "vault-kv://c/secret/x?y=1",
        "vault-kv://c/sec ret/x",
        "vault-kv://u:p@c/secret/x",
        "vault-kv://c/secret/" + "x" * 600,
    ],
)
def test_uris_that_are_refused(uri: str) -> None:
    """A store URI with a typing error is refused before Airflow or Vault is asked."""
    with pytest.raises(UriInvalid):
        store(uri)

"""Vault's own audit log, held against what we did."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.coordinate import encryption_context
from secure_xcom.keys import DataKey, Wrap, key_service
from secure_xcom.keys.vault_context import transit_context
from secure_xcom.ops.service_policies.vault_grants import kv_grant, transit_grant
from secure_xcom.stores import store
from tests.support.servers.vault_realm import Realm, connect
from tests.support.servers.vault_server import VaultServer
from tests.support.world import coordinate

pytestmark = pytest.mark.usefixtures("fresh")


def lines(log: Path, token: str, server: VaultServer) -> list[dict[str, Any]]:
    """What was answered to a token, in order; the log names tokens by their HMAC."""
    name = hashed(server, token)
    found = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in found if line["type"] == "response" and line["auth"].get("client_token") == name]


def hashed(server: VaultServer, text: str) -> str:
    """How a text stands in the log: Vault's own HMAC."""
    answer: str = server.do("POST", "sys/audit-hash/file", {"input": text})["data"]["hash"]
    return answer


def test_every_request_is_in_the_log_and_every_line_is_ours(
    audited: tuple[Realm, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wraps, unwraps, rewraps and payloads stand in Vault's log once each, in order, by their contexts."""
    realm, log = audited
    key = realm.new_key()
    grants = [transit_grant(role, realm.transit, key) for role in ("writer", "reader", "maintenance")]
    token = realm.may(*grants, kv_grant("writer", realm.kv, "xcom"), kv_grant("reader", realm.kv, "xcom"))
    conn_id = connect(monkeypatch, realm.server, password=token)
    service, kept = key_service(realm.uri(conn_id, key)), store(realm.store_uri(conn_id))
    contexts = [encryption_context("finance", coordinate(task_id=name)) for name in ("one", "two", "three")]
    keys = [DataKey.generate() for _ in contexts]
    wraps = [Wrap(service.wrap(one, context), context) for one, context in zip(keys, contexts, strict=True)]
    service.unwrap_many(wraps)
    service.unwrap_many(wraps[:1])
    service.rewrap_many(wraps[1:])
    kept.put("a/b", [b"sealed"])
    list(kept.get("a/b"))
    kept.delete_many(["a/b"])

    seen = lines(log, token, realm.server)
    data, metadata = f"{realm.kv}/data/xcom/a/b", f"{realm.kv}/metadata/xcom/a/b"
    encrypt, decrypt, rewrap = (f"{realm.transit}/{word}/{key}" for word in ("encrypt", "decrypt", "rewrap"))
    assert [line["request"]["path"] for line in seen] == [
        "auth/token/lookup-self",
        *[encrypt] * 3,
        *[decrypt] * 2,
        rewrap,
        data,
        data,
        metadata,
    ]
    assert [line["request"]["operation"] for line in seen[-3:]] == ["create", "read", "delete"]
    assert [line for line in seen if line.get("error")] == []

    names = [hashed(realm.server, base64.b64encode(transit_context(context)).decode()) for context in contexts]
    assert [_contexts(line)[0] for line in seen[1:4]] == names
    assert [_contexts(line) for line in seen[4:7]] == [names, names[:1], names[1:]]


def test_the_log_holds_no_secret(audited: tuple[Realm, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither data keys, nor wraps, nor payloads, nor ids stand in Vault's log in clear."""
    realm, log = audited
    key = realm.new_key()
    token = realm.may(transit_grant("writer", realm.transit, key), transit_grant("reader", realm.transit, key))
    service = key_service(realm.uri(connect(monkeypatch, realm.server, password=token), key))
    context = encryption_context("finance", coordinate(dag_id="a-telling-name"))
    data_key = DataKey.generate()
    wrapped = service.wrap(data_key, context)
    service.unwrap_many([Wrap(wrapped, context)])
    text = log.read_text()
    assert f"encrypt/{key}" in text
    for secret in (base64.b64encode(data_key.secret).decode(), wrapped, token, "a-telling-name"):
        assert secret not in text


def test_a_refused_unwrap_is_in_the_log(audited: tuple[Realm, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What Vault denied stands there as well, with the identity that asked."""
    realm, log = audited
    key = realm.new_key()
    token = realm.may(transit_grant("writer", realm.transit, key))
    service = key_service(realm.uri(connect(monkeypatch, realm.server, password=token), key))
    context = encryption_context("finance", coordinate())
    wrap = Wrap(service.wrap(DataKey.generate(), context), context)
    with pytest.raises(Exception, match="no `update`"):
        service.unwrap_many([wrap])
    denied = [line for line in lines(log, token, realm.server) if line.get("error")]
    assert [line["request"]["path"] for line in denied] == [f"{realm.transit}/decrypt/{key}"]
    assert "permission denied" in denied[0]["error"]


def _contexts(line: dict[str, Any]) -> list[str]:
    """The contexts of a request, single or in a batch, as the log has them."""
    data = line["request"]["data"]
    return [entry["context"] for entry in data["batch_input"]] if "batch_input" in data else [data["context"]]

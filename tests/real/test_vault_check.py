"""What `secure-xcom check` says of a real Vault, a key and an identity."""

from __future__ import annotations

from typing import Any

import pytest

from secure_xcom.core.findings import Finding
from secure_xcom.keys import key_service
from secure_xcom.keys.vault_context import transit_scope
from secure_xcom.ops.checks.key_services import check_key_service
from secure_xcom.ops.service_policies.vault_grants import transit_grant
from tests.support.servers.faulty_proxy import Fault, faulty_proxy
from tests.support.servers.vault_realm import Realm, connect
from tests.support.servers.vault_server import free_port

pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture
def key(realm: Realm) -> str:
    """A key as it should be."""
    return realm.new_key(auto_rotate_period="720h")


def check(
    realm: Realm, monkeypatch: pytest.MonkeyPatch, key: str, *grants: str, query: str = "", **token: Any
) -> list[Finding]:
    """The findings for an identity with these policies."""
    secret = realm.server.new_token(realm.policy("\n".join(grants)), **token) if grants else realm.server.token
    conn_id = connect(monkeypatch, realm.server, password=secret)
    return check_key_service(key_service(realm.uri(conn_id, key, query)))


def texts(findings: list[Finding], status: str) -> str:
    """All texts of a status."""
    return "\n".join(found.text for found in findings if found.status == status)


@pytest.mark.parametrize("role", ["writer", "reader", "maintenance"])
def test_each_role_is_found_well(realm: Realm, key: str, role: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An identity with the policy of its role has no error, and reads what it may do and what Vault is."""
    findings = check(realm, monkeypatch, key, transit_grant(role, realm.transit, key))
    assert texts(findings, "error") == ""
    assert {"writer": "may wrap", "reader": "may unwrap", "maintenance": "may rewrap"}[role] in texts(
        findings, "ok"
    )
    assert "reachable and unsealed, version" in texts(findings, "ok")
    assert "logged in by token" in texts(findings, "ok")
    if role == "maintenance":
        assert "derived, not exportable" in texts(findings, "ok")
        assert "Vault rotates it every 720 hours" in texts(findings, "ok")


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_an_identity_of_one_compartment_is_found_well(
    realm: Realm, key: str, role: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that allows the contexts of one compartment is no fault, although the check knows none of them."""
    grant = transit_grant(role, realm.transit, key, [transit_scope("finance")])
    findings = check(realm, monkeypatch, key, grant, query="?grant=scoped")
    assert texts(findings, "error") == ""
    assert ("may wrap in its own scope" in texts(findings, "ok")) == (role == "writer")


def test_every_error_and_warning_says_what_to_do(realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong comes with a remedy; for an operator's token much is."""
    findings = check(realm, monkeypatch, key)
    wrong = [found for found in findings if found.status != "ok"]
    assert wrong
    assert [found for found in wrong if not found.remedy] == []
    assert "root token" in texts(findings, "warning") or "sudo" in texts(findings, "error")


@pytest.mark.parametrize(
    ("path", "capability", "text"),
    [
        ("{transit}/encrypt/{key}", '"create", "update"', "creates a new key"),
        ("{transit}/decrypt/{key}", '"update", "sudo"', "sudo"),
        ("{transit}/keys/{key}", '"update", "delete"', "has delete, update"),
        ("{transit}/keys/{key}/config", '"update"', "/config"),
        ("{transit}/export/encryption-key/{key}", '"read"', "/export/"),
        ("{transit}/backup/{key}", '"read"', "/backup/"),
        ("{transit}/datakey/plaintext/{key}", '"update"', "/datakey/"),
    ],
)
def test_rights_that_are_too_many(
    realm: Realm, key: str, path: str, capability: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each right that no worker needs is an error of its own."""
    where = path.format(transit=realm.transit, key=key)
    findings = check(
        realm,
        monkeypatch,
        key,
        f'path "{realm.transit}/rewrap/{key}" {{ capabilities = ["update"] }}',
        f'path "{where}" {{ capabilities = [{capability}] }}',
    )
    errors = [found for found in findings if found.status == "error"]
    assert len(errors) == 1
    assert text in errors[0].text


def test_no_right_at_all(realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An identity that may do nothing with the key is told so."""
    findings = check(realm, monkeypatch, key, 'path "nothing" { capabilities = ["read"] }')
    assert "may neither wrap nor unwrap nor rewrap" in texts(findings, "error")


@pytest.mark.parametrize(
    ("options", "config", "text"),
    [
        ({"derived": False}, {}, "not derived"),
        ({"exportable": True}, {}, "exportable"),
        ({"allow_plaintext_backup": True}, {}, "plaintext backups"),
        ({"convergent_encryption": True}, {}, "convergent"),
        ({}, {"deletion_allowed": True}, "the key can be deleted"),
    ],
)
def test_keys_that_are_not_as_they_should_be(
    realm: Realm, options: dict[str, Any], config: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each property of a key that would undo the promise is an error for whoever may see the key."""
    key = realm.new_key(**options)
    if config:
        realm.server.do("POST", f"{realm.transit}/keys/{key}/config", config)
    findings = check(realm, monkeypatch, key, transit_grant("maintenance", realm.transit, key))
    assert text in texts(findings, "error")
    assert "Vault does not rotate the key" in texts(findings, "warning")


def test_a_writer_sees_that_the_key_is_not_derived(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also an identity that may not see the key is told what its wraps are worth."""
    key = realm.new_key(derived=False)
    findings = check(realm, monkeypatch, key, transit_grant("writer", realm.transit, key))
    assert "not derived" in texts(findings, "error")


def test_a_missing_key(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is not there is an error for every role."""
    for role in ("writer", "maintenance"):
        findings = check(realm, monkeypatch, "nothing-here", transit_grant(role, realm.transit, "nothing-here"))
        assert "no key of this name" in texts(findings, "error")


def test_a_token_without_the_default_policy(realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that may not look itself up is a warning, and the check says that it cannot see its rights."""
    grant = transit_grant("writer", realm.transit, key)
    findings = check(realm, monkeypatch, key, grant, no_default_policy=True)
    assert texts(findings, "error") == ""
    assert "may not look itself up" in texts(findings, "warning")
    assert "may not ask for its capabilities" in texts(findings, "warning")


def test_nobody_there(realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of a Vault that is away is one finding, and raises nothing."""
    conn_id = connect(monkeypatch, realm.server, address=f"http://127.0.0.1:{free_port()}", password="x")
    findings = check_key_service(key_service(realm.uri(conn_id, key)))
    assert [found.status for found in findings] == ["error"]
    assert "the connection to Vault failed" in findings[0].text


def test_a_login_that_fails(realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check with a token that Vault does not take says so after it has said that Vault is there."""
    conn_id = connect(monkeypatch, realm.server, password="hvs.unknown")
    findings = check_key_service(key_service(realm.uri(conn_id, key)))
    assert [found.status for found in findings] == ["ok", "error"]
    assert "hvs.unknown" not in str(findings)


def test_clocks_that_differ(realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Vault whose clock is far from ours is a warning."""
    health = b'{"initialized": true, "sealed": false, "version": "9.9.9"}'
    headers = (("Content-Type", "application/json"), ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"))
    with faulty_proxy(realm.server.address) as proxy:
        conn_id = connect(monkeypatch, realm.server, address=proxy.endpoint, password=realm.server.token)
        proxy.faults = [Fault("answer", path="/sys/health", status=200, body=health, headers=headers)]
        findings = check_key_service(key_service(realm.uri(conn_id, key)))
    assert "seconds apart" in texts(findings, "warning")


def test_without_tls_beyond_this_machine(realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address without TLS is an error unless it is this machine itself, whether Vault answers there or not."""
    conn_id = connect(
        monkeypatch, realm.server, address="http://vault.invalid:8200", password="x", client_kwargs={"timeout": 1}
    )
    assert "sent in plaintext" in texts(check_key_service(key_service(realm.uri(conn_id, key))), "error")

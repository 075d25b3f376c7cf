"""What `init --vault` makes in a Vault: planned, made once, and no more than each role needs."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.connections.vault.client import VaultClient, forget_clients, vault_client
from secure_xcom.core.errors import SettingInvalid
from secure_xcom.core.vault_errors import VaultDenied, VaultRefused
from secure_xcom.keys import DataKey, Wrap, key_service
from secure_xcom.ops.checks.key_services import check_key_service
from secure_xcom.ops.service_policies.apply.vault_approles import (
    airflow_connection_line,
    credentials,
    write_private,
)
from secure_xcom.ops.service_policies.apply.vault_setup import APPROLES, Step, Wanted, apply, plan
from secure_xcom.stores import store
from tests.support.key_service_contract import CONTEXT, opened
from tests.support.servers.vault_realm import as_operator, connect
from tests.support.servers.vault_server import VaultServer

pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture
def wanted(vault: VaultServer) -> Iterator[Wanted]:
    """Names that nobody else uses, and their removal."""
    word = secrets.token_hex(4)
    found = Wanted(
        transit=f"sxt-{word}/transit",
        key=f"xcom-{word}",
        kv=(f"sxt-{word}/kv", "xcom"),
        approles=("worker", "writer", "reader", "maintenance"),
        approle_mount=f"sxt-{word}/approle",
    )
    yield found
    for path in (
        f"sys/mounts/{found.transit}",
        f"sys/mounts/sxt-{word}/kv",
        f"sys/auth/{found.approle_mount}",
        *(f"sys/policies/acl/{found.policy(role)}" for role in ("writer", "reader", "maintenance")),
    ):
        vault.api("DELETE", path)


@pytest.fixture
def operator(vault: VaultServer, fresh: None, monkeypatch: pytest.MonkeyPatch) -> VaultClient:
    """A client with an operator's token, from the environment."""
    as_operator(monkeypatch, vault)
    return vault_client("default")


def states(steps: list[Step]) -> set[str]:
    """What there is to do."""
    return {step.state for step in steps}


class TestPlan:
    def test_a_plan_changes_nothing(self, vault: VaultServer, operator: VaultClient, wanted: Wanted) -> None:
        """Planning reads: afterwards there is neither mount, nor policy, nor AppRole."""
        steps = plan(operator, wanted)
        assert states(steps) == {"make"}
        assert len(steps) == 13
        assert f"{wanted.transit}/" not in vault.do("GET", "sys/mounts")["data"]
        assert f"{wanted.approle_mount}/" not in vault.do("GET", "sys/auth")["data"]
        assert vault.api("GET", f"sys/policies/acl/{wanted.policy('writer')}").status_code == 404

    def test_made_once(self, vault: VaultServer, operator: VaultClient, wanted: Wanted) -> None:
        """After the first run everything is there, and a second run neither changes nor rotates anything."""
        apply(operator, plan(operator, wanted))
        path = f"{wanted.transit}/keys/{wanted.key}"
        before = vault.do("GET", path)["data"]
        steps = plan(operator, wanted)
        assert states(steps) == {"there"}
        apply(operator, steps)
        assert vault.do("GET", path)["data"] == before
        assert before["derived"] is True
        assert before["type"] == "aes256-gcm96"
        assert before["auto_rotate_period"] == 2160 * 3600
        assert [before[word] for word in ("exportable", "allow_plaintext_backup", "deletion_allowed")] == [
            False
        ] * 3

    def test_what_differs_is_changed_back(self, vault: VaultServer, operator: VaultClient, wanted: Wanted) -> None:
        """A policy, a rotation and an AppRole that somebody changed are the only steps of the next plan."""
        apply(operator, plan(operator, wanted))
        name = wanted.policy("reader")
        vault.do("PUT", f"sys/policies/acl/{name}", {"policy": "# nothing"})
        vault.do("POST", f"{wanted.transit}/keys/{wanted.key}/config", {"auto_rotate_period": "0"})
        vault.do("POST", f"auth/{wanted.approle_mount}/role/{wanted.policy('worker')}", {"token_ttl": 5})
        steps = [step for step in plan(operator, wanted) if step.state != "there"]
        assert [step.state for step in steps] == ["change"] * 3
        apply(operator, steps)
        assert states(plan(operator, wanted)) == {"there"}

    def test_a_key_that_can_never_be_right(
        self, vault: VaultServer, operator: VaultClient, wanted: Wanted
    ) -> None:
        """A key of the same name that is exportable or not derived is refused, and left as it is."""
        apply(operator, plan(operator, wanted)[:1])
        for number, options in enumerate(({"derived": False}, {"derived": True, "exportable": True})):
            other = Wanted(transit=wanted.transit, key=f"{wanted.key}-{number}")
            vault.do("POST", f"{wanted.transit}/keys/{other.key}", options)
            with pytest.raises(VaultRefused, match="cannot be changed"):
                plan(operator, other)

    def test_a_mount_of_another_kind(self, vault: VaultServer, operator: VaultClient, wanted: Wanted) -> None:
        """Mounts that are there for something else are refused."""
        vault.do("POST", f"sys/mounts/{wanted.transit}", {"type": "kv", "options": {"version": "1"}})
        with pytest.raises(VaultRefused, match="of type 'kv'"):
            plan(operator, wanted)
        assert wanted.kv is not None
        with pytest.raises(VaultRefused, match="version 2"):
            plan(operator, Wanted(transit=f"{wanted.transit}2", key=wanted.key, kv=(wanted.transit, "xcom")))

    def test_a_mount_that_was_there_keeps_its_settings(
        self, vault: VaultServer, operator: VaultClient, wanted: Wanted
    ) -> None:
        """On a mount with other users nothing is switched off for them."""
        vault.do("POST", f"sys/mounts/{wanted.transit}", {"type": "transit"})
        apply(operator, plan(operator, wanted))
        assert vault.do("GET", f"{wanted.transit}/config/keys")["data"]["disable_upsert"] is False

    def test_without_an_operators_token(
        self, vault: VaultServer, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A worker's token is denied by Vault itself, by name."""
        conn_id = connect(monkeypatch, vault, password=vault.new_token("default"))
        with pytest.raises(VaultDenied):
            plan(vault_client(conn_id), wanted)

    @pytest.mark.parametrize(
        "names",
        [
            {"transit": ""},
            {"transit": "../sys"},
            {"transit": "a//b"},
            {"key": 'x" { capabilities = ["sudo"] }'},
            {"key": "a/b"},
            {"key": ""},
            {"rotate": "0h"},
            {"rotate": "90d"},
            {"kv": ("secret", "")},
            {"kv": ("secret", "*")},
            {"approle_mount": "a b"},
        ],
    )
    def test_names_that_cannot_be_used(self, names: dict[str, Any]) -> None:
        """A name that would change a path or a policy is refused before Vault is asked."""
        with pytest.raises(SettingInvalid):
            Wanted(**names)


class TestRoles:
    @pytest.fixture
    def made(self, operator: VaultClient, wanted: Wanted) -> Wanted:
        apply(operator, plan(operator, wanted))
        return wanted

    def token(self, vault: VaultServer, operator: VaultClient, wanted: Wanted, role: Any) -> str:
        login = credentials(operator, wanted, role)
        body = {"role_id": login.role_id, "secret_id": login.secret_id}
        answer = vault.do("POST", f"auth/{wanted.approle_mount}/login", body, token="")
        token: str = answer["auth"]["client_token"]
        return token

    @pytest.mark.parametrize("role", sorted(APPROLES))
    def test_each_role_may_what_it_needs_and_no_more(
        self, vault: VaultServer, operator: VaultClient, made: Wanted, role: Any
    ) -> None:
        """Vault's own list of capabilities of each AppRole's token, for every path that matters."""
        assert made.kv is not None
        mount, prefix = made.kv
        paths = {
            f"{made.transit}/encrypt/{made.key}": {"writer": ["update"]},
            f"{made.transit}/decrypt/{made.key}": {"reader": ["update"]},
            f"{made.transit}/rewrap/{made.key}": {"maintenance": ["update"]},
            f"{made.transit}/keys/{made.key}": {"maintenance": ["read"]},
            f"{mount}/data/{prefix}/a/b": {"writer": ["create"], "reader": ["read"], "maintenance": ["read"]},
            f"{mount}/metadata/{prefix}/a/b": {"writer": ["delete"], "maintenance": ["delete", "list"]},
            f"{made.transit}/encrypt/{made.key}-2": {},
            f"{made.transit}/decrypt/{made.key}-2": {},
            f"{made.transit}/keys/{made.key}/config": {},
            f"{made.transit}/keys/{made.key}/rotate": {},
            f"{made.transit}/keys": {},
            f"{made.transit}/export/encryption-key/{made.key}": {},
            f"{made.transit}/backup/{made.key}": {},
            f"{made.transit}/datakey/plaintext/{made.key}": {},
            f"{mount}/data/other/a": {},
            f"{mount}/delete/{prefix}/a/b": {},
            f"{mount}/config": {},
            "sys/mounts": {},
            "sys/policies/acl/default": {},
            "sys/audit": {},
            "auth/token/create": {},
            f"auth/{made.approle_mount}/role/{made.policy('worker')}/secret-id": {},
        }
        token = self.token(vault, operator, made, role)
        answer = vault.do("POST", "sys/capabilities-self", {"paths": list(paths)}, token=token)["data"]
        expected = {
            path: sorted({word for held in APPROLES[role] for word in rights.get(held, [])}) or ["deny"]
            for path, rights in paths.items()
        }
        assert {path: sorted(answer[path]) for path in paths} == expected

    def test_the_printed_connections_work(
        self, vault: VaultServer, operator: VaultClient, made: Wanted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A worker's connection pushes and pulls, a maintenance connection rewraps and lists."""
        assert made.kv is not None
        for role in ("worker", "maintenance"):
            line = airflow_connection_line(operator, made, credentials(operator, made, role), f"sxt_{role}")
            name, _, value = line.partition("=")
            assert name == f"AIRFLOW_CONN_SXT_{role.upper()}"
            monkeypatch.setenv(name, value.strip("'"))
            assert json.loads(value.strip("'"))["extra"]["auth_type"] == "approle"
        forget_clients()
        monkeypatch.delenv("VAULT_TOKEN")
        worker, keeper = (
            key_service(f"vault://sxt_{role}/{made.transit}/keys/{made.key}") for role in ("worker", "maintenance")
        )
        data_key = DataKey.generate()
        wrap = Wrap(worker.wrap(data_key, CONTEXT), CONTEXT)
        rewrapped = keeper.rewrap_many([wrap])[0]
        assert isinstance(rewrapped, str)
        assert opened(worker.unwrap_many([Wrap(rewrapped, CONTEXT)])[0]) == data_key.secret
        mount, prefix = made.kv
        uris = [f"vault-kv://sxt_{role}/{mount}/data/{prefix}" for role in ("worker", "maintenance")]
        store(uris[0]).put("a/b", [b"sealed"])
        assert b"".join(store(uris[0]).get("a/b")) == b"sealed"
        assert [entry.path for entry in store(uris[1]).list()] == ["a/b"]
        assert [found for found in check_key_service(worker) if found.status == "error"] == []
        assert [found for found in check_key_service(keeper) if found.status == "error"] == []

    def test_a_wrong_key_name_makes_no_key(self, vault: VaultServer, operator: VaultClient, made: Wanted) -> None:
        """On the mount that was made here not even an operator's wrap makes a key."""
        service = key_service(f"vault://default/{made.transit}/keys/{made.key}-typo")
        with pytest.raises(Exception, match="no key of this name"):
            service.wrap(DataKey.generate(), CONTEXT)
        keys = vault.do("LIST", f"{made.transit}/keys")["data"]["keys"]
        assert keys == [made.key]

    def test_credentials_are_not_shown(self, operator: VaultClient, made: Wanted) -> None:
        """Neither a repr nor an error shows a secret id; each is a new one."""
        first, second = (credentials(operator, made, "reader") for _ in range(2))
        assert first.secret_id != second.secret_id
        assert first.secret_id not in repr(first)

    def test_credentials_before_the_plan_was_applied(self, operator: VaultClient, wanted: Wanted) -> None:
        """Without the AppRole there are no credentials, and the error says what to do first."""
        with pytest.raises(VaultRefused, match="apply the plan first"):
            credentials(operator, wanted, "reader")


def test_a_private_file(tmp_path: Path) -> None:
    """The file with secret ids is its owner's alone whatever the umask, and never written over another."""
    path = tmp_path / "connections.env"
    before = os.umask(0)
    try:
        write_private(path, "AIRFLOW_CONN_X='{}'\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "AIRFLOW_CONN_X='{}'\n"
    with pytest.raises(SettingInvalid):
        write_private(path, "other")
    with pytest.raises(SettingInvalid):
        write_private(tmp_path / "no" / "folder", "x")

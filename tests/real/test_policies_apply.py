"""`secure-xcom policy apply` on a real Vault: once, again, after a failure, beside what is somebody else's."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from tests.support.servers.vault_realm import as_operator
from tests.support.servers.vault_server import VaultServer

TEXT = """
version: 1
compartments:
  - name: one
    dags: ["*"]
    key_uris: ["vault://v/TAG-transit/keys/one", "vault://v/TAG-transit/keys/two"]
    store_uri: vault-kv://v/TAG-kv/xcom
identities:
  - {name: TAG-worker, workers_of: [one], vault: {auth: approle, mount: TAG-approle}}
  - {name: TAG-keeper, grants: [{compartment: one, as: maintenance}], vault: {auth: other}}
"""


@dataclass
class Site:
    """A policy file with names of its own on a server."""

    vault: VaultServer
    tag: str
    file: Path

    def run(self, *more: str) -> tuple[int, dict[str, Any]]:
        """The exit code and what was printed."""
        result = CliRunner().invoke(app, ["policy", "apply", str(self.file), "--json", *more])
        found: dict[str, Any] = json.loads(result.stdout or result.stderr)
        return result.exit_code, found

    def policy(self, who: str) -> str:
        """The path of an identity's policy."""
        return f"sys/policies/acl/secure-xcom-{self.tag}-{who}"


@pytest.fixture
def site(vault: VaultServer, fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """Names that nobody has, and an operator's environment."""
    as_operator(monkeypatch, vault)
    tag = f"sxt{secrets.token_hex(4)}"
    file = tmp_path / "policy.yaml"
    file.write_text(TEXT.replace("TAG", tag))
    found = Site(vault, tag, file)
    yield found
    for path in (f"sys/mounts/{tag}-transit", f"sys/mounts/{tag}-kv", f"sys/auth/{tag}-approle"):
        vault.api("DELETE", path)
    for who in ("worker", "keeper"):
        vault.api("DELETE", found.policy(who))


def states(record: dict[str, Any]) -> set[str]:
    """Which states the steps of a plan are in."""
    return {step["state"] for step in record["steps"]}


def test_a_dry_run_makes_nothing(site: Site) -> None:
    """The plan is shown with exit code 1, which is drift, and the Vault is as it was."""
    code, record = site.run("--dry-run")
    assert (code, record["applied"], states(record)) == (1, False, {"make"})
    assert site.vault.api("GET", site.policy("worker")).status_code == 404
    assert f"{site.tag}-transit/" not in site.vault.do("GET", "sys/mounts")["data"]


def test_it_makes_all_and_then_nothing(site: Site) -> None:
    """After one run a worker logs in and wraps with both keys; another run finds everything there."""
    assert site.run()[0] == 0
    role = f"auth/{site.tag}-approle/role/{site.tag}-worker"
    login = {
        "role_id": site.vault.do("GET", f"{role}/role-id")["data"]["role_id"],
        "secret_id": site.vault.do("POST", f"{role}/secret-id", {})["data"]["secret_id"],
    }
    token = site.vault.do("POST", f"auth/{site.tag}-approle/login", login)["auth"]["client_token"]
    body = {"plaintext": "eA==", "context": "eA=="}
    for key in ("one", "two"):
        assert site.vault.api("POST", f"{site.tag}-transit/encrypt/{key}", body, token=token).ok
    assert site.vault.api("GET", f"{site.tag}-transit/keys/one", token=token).status_code == 403
    code, record = site.run()
    assert (code, states(record)) == (0, {"there"})


def test_it_goes_on_after_a_failure_and_shows_what_changes(site: Site) -> None:
    """What is missing is made, what was edited is shown line by line and mended."""
    assert site.run()[0] == 0
    site.vault.do("DELETE", site.policy("keeper"))
    text = site.vault.do("GET", site.policy("worker"))["data"]["policy"]
    site.vault.do(
        "PUT", site.policy("worker"), {"policy": text + '\npath "secret/*" {\n  capabilities = ["read"]\n}\n'}
    )
    record = site.run()[1]
    changed = {step["step"]: step for step in record["steps"] if step["state"] != "there"}
    assert {name.rsplit("-", 1)[-1]: step["state"] for name, step in changed.items()} == {
        "keeper": "make",
        "worker": "change",
    }
    assert '-path "secret/*" {' in changed[f"policy secure-xcom-{site.tag}-worker"]["diff"]
    assert site.vault.do("GET", site.policy("worker"))["data"]["policy"] == text
    assert states(site.run()[1]) == {"there"}


def test_what_is_somebody_elses_is_left(site: Site) -> None:
    """A policy of our name without our mark is refused, and nothing at all is done."""
    foreign = 'path "x" {\n  capabilities = ["read"]\n}\n'
    site.vault.do("PUT", site.policy("worker"), {"policy": foreign})
    code, record = site.run()
    assert (code, record["error"]) == (2, "VaultRefused")
    assert site.vault.do("GET", site.policy("worker"))["data"]["policy"] == foreign
    assert f"{site.tag}-transit/" not in site.vault.do("GET", "sys/mounts")["data"]

"""``secure-xcom init --vault`` on real servers, from an empty Vault to settings that work."""

from __future__ import annotations

import json
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from secure_xcom.cli.commands import app
from tests.support.servers.vault_server import VaultServer

pytestmark = pytest.mark.usefixtures("fresh")


@dataclass
class Place:
    """URIs of things that are not there yet."""

    word: str

    @property
    def conn_id(self) -> str:
        return f"sxt_{self.word}"

    @property
    def key(self) -> str:
        return f"vault://{self.conn_id}/sxt-{self.word}/transit/keys/xcom-{self.word}"

    @property
    def store(self) -> str:
        return f"vault-kv://{self.conn_id}/sxt-{self.word}/kv/data/xcom"


@pytest.fixture
def place(vault: VaultServer) -> Iterator[Place]:
    """Names that nobody else uses, and their removal."""
    found = Place(secrets.token_hex(4))
    yield found
    for path in (f"sys/mounts/sxt-{found.word}/transit", f"sys/mounts/sxt-{found.word}/kv"):
        vault.api("DELETE", path)
    for role in ("worker", "writer", "reader", "maintenance"):
        name = f"secure-xcom-xcom-{found.word}-{role}"
        vault.api("DELETE", f"sys/policies/acl/{name}")
        vault.api("DELETE", f"auth/approle/role/{name}")


@pytest.fixture(autouse=True)
def _operator(vault: VaultServer, fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", vault.address)
    monkeypatch.setenv("VAULT_TOKEN", vault.token)
    monkeypatch.setenv("VAULT_NAMESPACE", vault.namespace)
    monkeypatch.setenv("VAULT_CACERT", vault.ca or "")


def init(place: Place, *arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["init", "--key", place.key, "--store", place.store, *arguments])


def connections(text: str) -> dict[str, Any]:
    """The lines of a file of connections."""
    return {
        name: json.loads(value.strip("'"))
        for name, _, value in (line.partition("=") for line in text.splitlines())
    }


def test_a_dry_run_shows_the_plan_and_the_policies(vault: VaultServer, place: Place) -> None:
    """Every step and every policy's text is shown with exit code 1, and nothing is there afterwards."""
    result = init(place, "--vault", "--approle", "worker", "--dry-run")
    assert result.exit_code == 1, result.output
    assert "would be created" in result.output
    assert f'path "sxt-{place.word}/transit/encrypt/xcom-{place.word}"' in result.output
    assert f"sxt-{place.word}/transit/" not in vault.do("GET", "sys/mounts")["data"]


def test_from_nothing_to_settings_that_work(
    vault: VaultServer, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command makes all, writes the connections into a private file, tries them, and prints the settings."""
    monkeypatch.delenv(f"AIRFLOW_CONN_{place.conn_id.upper()}", raising=False)
    file = tmp_path / "connections.env"
    roles = ("--approle", "worker", "--approle", "maintenance", "--connections", str(file))
    result = init(place, "--vault", *roles, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.output)
    assert f"key_uris = {place.key}" in record["airflow_cfg"]
    assert "connections" not in record
    assert "connection of its own role" in record["next"][0]
    assert [found for found in record["findings"] if found["status"] == "error"] == []
    assert any("wrap" in found["text"] for found in record["findings"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = connections(file.read_text())
    name = f"AIRFLOW_CONN_{place.conn_id.upper()}"
    assert list(made) == [name, f"{name}_MAINTENANCE"]
    assert all(one["password"] not in result.output for one in made.values())


def test_run_again_it_changes_nothing(
    vault: VaultServer, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run with the connection in place finds everything there and tries it again."""
    file = tmp_path / "connections.env"
    assert init(place, "--vault", "--approle", "worker", "--connections", str(file)).exit_code == 0
    for name, value in connections(file.read_text()).items():
        monkeypatch.setenv(name, json.dumps(value))
    result = init(place, "--vault")
    assert result.exit_code == 0, result.output
    assert ": exists" in result.output
    assert ": created" not in result.output


def test_on_the_screen_where_that_is_asked_for(place: Place) -> None:
    """With `-` the connections are printed, with their secret ids."""
    result = init(place, "--vault", "--approle", "worker", "--connections", "-")
    assert result.exit_code == 0, result.output
    assert f"AIRFLOW_CONN_{place.conn_id.upper()}='" in result.output


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--approle", "worker"], "--vault"),
        (["--connections", "-"], "--vault"),
        (["--vault", "--approle", "worker"], "secret ids"),
        (["--vault", "--approle", "emperor", "--connections", "-"], "emperor"),
        (["--vault", "--key", "vault://other/transit/keys/second"], "one key"),
        (["--vault", "--approle", "worker", "--connections", "/nowhere/at/all"], "folder"),
    ],
)
def test_options_that_do_not_go_together(
    vault: VaultServer, place: Place, arguments: list[str], word: str
) -> None:
    """They are refused with exit code 2 before anything is made."""
    result = init(place, *arguments)
    assert result.exit_code == 2
    assert word in result.output + result.stderr
    assert f"sxt-{place.word}/transit/" not in vault.do("GET", "sys/mounts")["data"]


def test_a_worker_is_no_operator(vault: VaultServer, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an operator's rights Vault itself refuses, and the command says so."""
    monkeypatch.setenv("VAULT_TOKEN", vault.new_token("default"))
    result = init(place, "--vault")
    assert result.exit_code == 2
    assert "denies" in result.output + result.stderr

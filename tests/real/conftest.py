"""Servers that several files of this folder share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secure_xcom.connections.sql.airflow_tables import Schema
from tests.support.servers.vault_found import binary_of, found_server
from tests.support.servers.vault_realm import Realm, clean_environment, flavours, new_realm, own_flavours
from tests.support.servers.vault_server import VaultServer, dev_server
from tests.support.upkeep_world import Upkeep
from tests.support.xcom_table import XComTable


@pytest.fixture(scope="session", params=flavours())
def vault(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    """A real Vault, and then a real OpenBao, where both are at hand; or the server that the environment names."""
    if request.param == "named":
        yield VaultServer(
            os.environ["SECURE_XCOM_TEST_VAULT_ADDR"].rstrip("/"),
            os.environ["SECURE_XCOM_TEST_VAULT_TOKEN"],
            "named",
            os.environ.get("SECURE_XCOM_TEST_VAULT_CACERT"),
            namespace=os.environ.get("SECURE_XCOM_TEST_VAULT_NAMESPACE", ""),
        )
        return
    with found_server(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture(scope="module")
def realm(vault: VaultServer) -> Iterator[Realm]:
    """A corner of the Vault for one file."""
    with new_realm(vault) as found:
        yield found


@pytest.fixture(scope="module", params=own_flavours())
def audited(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Realm, Path]]:
    """A server of a file's own that writes an audit log, and the log.

    OpenBao has its audit device from its configuration, as vault.md shows, since its API refuses to make one.
    """
    folder = tmp_path_factory.mktemp("audited")
    log = folder / "audit.log"
    device = {"type": "file", "options": {"file_path": str(log)}}
    stanza = f'audit "file" "file" {{\n  options {{\n    file_path = "{log}"\n  }}\n}}\n'
    binary = binary_of(request.param)
    with dev_server(binary, folder, request.param, stanza) as server, new_realm(server) as realm:
        if request.param == "openbao":
            assert server.api("PUT", "sys/audit/another", device).status_code >= 400
        else:
            server.do("PUT", "sys/audit/file", device)
        yield realm, log


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without Vault settings of the caller, and no login of another test."""
    clean_environment(monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path))
    # The wait between attempts is not what most tests are about.
    monkeypatch.setenv("VAULT_MAX_RETRIES", "1")


@pytest.fixture(params=Schema)
def table(new_database: Callable[[], str], request: pytest.FixtureRequest) -> Iterator[XComTable]:
    """New tables of each schema, in a new database; a file of tests brings the server."""
    made = XComTable(new_database(), request.param)
    yield made
    made.close()


@pytest.fixture(params=Schema)
def upkeep(new_database: Callable[[], str], request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Upkeep]:
    """A deployment with a database of each schema; a file of tests brings the server."""
    made = Upkeep(tmp_path, new_database(), schema=request.param)
    yield made
    made.close()

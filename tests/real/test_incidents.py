"""docs/evidence/approval/incidents.md: its commands do what the page says, on a real Vault or OpenBao."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests

from secure_xcom.connections.vault.client import forget_clients
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import KeyVersionUnknown
from tests.support.access_logs import chain, write
from tests.support.documented import ROOT, blocks
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_realm import own_flavours
from tests.support.servers.vault_server import VaultServer, dev_server
from tests.support.upkeep_world import Upkeep

# Some fifteen commands, each a process that loads Airflow's configuration.
pytestmark = [pytest.mark.usefixtures("fresh"), pytest.mark.timeout(900)]

PAGE = ROOT / "docs" / "evidence" / "approval" / "incidents.md"
STEPS = blocks(PAGE, "sh")
KEY = "vault://vault_xcom/transit/keys/xcom-finance"
IDENTITIES = """\
identities:
  - name: finance-workers
    workers_of: [finance]
    vault: {auth: approle}
  - name: maintenance
    grants: [{compartment: finance, as: maintenance}]
    vault: {auth: approle}
"""


class Site:
    """A deployment with a Vault of its own, whose settings every command of the page is given."""

    def __init__(self, folder: Path, vault: str = "", server: VaultServer | None = None) -> None:
        self.folder = folder
        self.server = server
        programs = folder / "bin"
        programs.mkdir()
        for name, line in {
            "vault": f'exec "{vault}" "$@"',
            "secure-xcom": f'exec "{sys.executable}" -c "from secure_xcom.cli import main; main()" "$@"',
        }.items():
            (programs / name).write_text(f"#!/bin/sh\n{line}\n")
            (programs / name).chmod(0o755)
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("AIRFLOW", "SECURE_XCOM"))
            },
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_HOME": str(folder / "home"),
            **({"VAULT_ADDR": server.address, "VAULT_TOKEN": server.token} if server else {}),
        }

    def run(self, script: str, environment: Mapping[str, str] | None = None, *, code: int = 0) -> str:
        """Run commands as the operator does, in the site's folder."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"{script}\n{done.stdout[-3000:]}"
        return done.stdout

    def step(self, beginning: str, environment: Mapping[str, str] | None = None, *, code: int = 0) -> str:
        """Run the page's block that begins so."""
        (block,) = [block for block in STEPS if block.startswith(beginning)]
        return self.run(block, environment, code=code)

    def login(self, role_id: str, secret_id: str) -> int:
        """The status of a login at the AppRole method."""
        body = {"role_id": role_id, "secret_id": secret_id}
        assert self.server
        return requests.post(f"{self.server.address}/v1/auth/approle/login", json=body, timeout=20).status_code

    def connection(self, role: str) -> str:
        """The Airflow connection of a role, with a new secret id."""
        role_id = self.run(f"vault read -field=role_id auth/approle/role/{role}/role-id")
        secret_id = self.run(f"vault write -f -field=secret_id auth/approle/role/{role}/secret-id")
        assert self.server
        host, port = self.server.address.removeprefix("http://").split(":")
        return json.dumps(
            {
                "conn_type": "vault",
                "login": role_id,
                "password": secret_id,
                "schema": "http",
                "host": host,
                "port": int(port),
                "extra": {"auth_type": "approle"},
            }
        )


@pytest.fixture(params=own_flavours())
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A Vault in which nothing is set up yet."""
    with dev_server(binary_of(request.param), tmp_path, request.param) as server:
        yield Site(tmp_path, str(binary_of(request.param)), server)


def test_leaked_logins_workers_and_databases(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaked secret id ends, a stolen wrap opens no more, and what was rewrapped does."""
    upkeep = Upkeep(site.folder / "deployment")
    upkeep.write_policy(keys=KEY, more=IDENTITIES.replace("finance]", "pay]").replace(" finance,", " pay,"))
    upkeep.policy_file.write_text(
        upkeep.policy_file.read_text().replace(" pay", " finance").replace("[pay]", "[finance]")
    )
    upkeep.policy = AccessPolicy.load(str(upkeep.policy_file))
    site.run(f"secure-xcom policy apply {upkeep.policy_file} --to vault || test $? -eq 1")
    config = site.folder / "airflow.cfg"
    config.write_text(
        f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\naudit_sinks = file://{site.folder}/log.jsonl\n"
    )

    # A secret id has leaked.
    role_id = site.run("vault read -field=role_id auth/approle/role/finance-workers/role-id").strip()
    leaked = site.run("vault write -f -field=secret_id auth/approle/role/finance-workers/secret-id").strip()
    assert site.login(role_id, leaked) == 200
    monkeypatch.setenv("AIRFLOW_CONN_VAULT_XCOM", site.connection("finance-workers"))
    forget_clients()
    at = upkeep.push({"n": 1})
    stolen = upkeep.table.value(at)
    site.step("vault write auth/approle/role/finance-workers/secret-id/destroy", {"LEAKED": leaked})
    assert site.login(role_id, leaked) == 400
    site.step("vault write -f -field=secret_id")
    assert site.login(role_id, (site.folder / "new-secret-id").read_text().strip()) == 200

    # A worker is compromised, and the database was stolen.
    assert upkeep.pull(at) == {"n": 1}, "workers log in anew"
    lines = b"".join(line.data + b"\n" for line in upkeep.sink.lines)
    (site.folder / "log.jsonl").write_bytes(lines)
    searched = site.step("secure-xcom audit search", {"AIRFLOW_CONFIG": str(config)})
    assert "pull" in searched
    maintenance = {
        "AIRFLOW_CONN_VAULT_XCOM": site.connection("maintenance"),
        "SECURE_XCOM_DB": upkeep.table.url,
        "AIRFLOW_CONFIG": str(config),
    }
    site.step("vault write -f transit/keys/xcom-finance/rotate", maintenance)
    forget_clients()
    assert upkeep.pull(at) == {"n": 1}, "what was rewrapped opens"
    rewrapped = upkeep.table.value(at)
    upkeep.table.put(at, stolen)
    with pytest.raises(KeyVersionUnknown):
        upkeep.pull(at)
    upkeep.table.put(at, rewrapped)
    # It ends with 1 where something is left to rewrap.
    site.step("secure-xcom rewrap", maintenance)
    upkeep.close()


def test_stolen_signing_keys_and_tampered_logs(tmp_path: Path) -> None:
    """The log goes on under another key, checked against the witness of the first, and tampering is found."""
    site = Site(tmp_path)
    config, log = tmp_path / "airflow.cfg", tmp_path / "log.jsonl"
    for name in ("anchored", "elsewhere"):
        (tmp_path / name).mkdir()
    write(log, chain(1))
    anchored = f"audit_sinks = file://{log}\nsealed_log = file://{site.folder}/anchored\n"
    config.write_text(f"[secure_xcom]\n{anchored}sealing_key = file://{site.folder}/sealing-1.pem\n")
    first = {"AIRFLOW_CONFIG": str(config)}
    old = site.run('secure-xcom audit key --create --key "file://$PWD/sealing-1.pem" --json', first)
    site.run("secure-xcom audit anchor --checkpoint elsewhere/checkpoint", first)
    site.step("secure-xcom audit verify --trusted", first)
    site.step("secure-xcom audit key --create", first)
    new = site.run('secure-xcom audit key --key "file://$PWD/sealing-2.pem" --json', first)
    verifiers = ",".join(json.loads(text)["verifier"] for text in (old, new))
    (site.folder / "airflow-2.cfg").write_text(
        f"[secure_xcom]\n{anchored}sealing_key = file://{site.folder}/sealing-2.pem\n"
        f"sealed_log_verifiers = {verifiers}\n"
    )
    write(log, [*chain(1), *chain(2)])
    site.step("secure-xcom audit anchor --config airflow-2.cfg")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0].replace(b'"outcome":"ok"', b'"outcome":"no"', 1), *lines[1:]]))
    found = site.step(
        "secure-xcom audit verify --config airflow-2.cfg --trusted elsewhere/checkpoint --json", code=1
    )
    assert '"edited"' in found


def test_no_step_is_left_out() -> None:
    """The page has the steps that the tests above run, and no other."""
    run = re.findall(r'site\.step\(\s*"([^"]+)"', Path(__file__).read_text())
    assert [block for block in STEPS if sum(block.startswith(step) for step in run) != 1] == []
    assert len(run) == len(STEPS)

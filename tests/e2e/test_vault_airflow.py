"""A whole Airflow (scheduler, SQLite) whose Vault connection is defined in Airflow, with a real Vault."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.ops.service_policies.vault_grants import transit_grant
from tests.support.servers.vault_auth import AppRole, Auth
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_realm import Realm, new_realm, own_flavours
from tests.support.servers.vault_server import VaultServer, dev_server

DAG = "vault_way"
DAGS = Path(__file__).parent / "dags_vault"
FLAVOUR = own_flavours()[0]


@dataclass
class House:
    """A running Airflow, its Vault, and what it logs in with."""

    airflow: LocalAirflow
    realm: Realm
    role: AppRole
    key: str
    canary: str
    signals: Path
    audit: Path

    def run(self) -> str:
        """Start a run and wait until its last task is halfway."""
        run = self.airflow.trigger(DAG)
        deadline = time.monotonic() + 180
        while not (self.signals / f"{run}.halfway").exists():
            assert self.airflow.run_state(DAG, run) != "failed", self.logs(run)
            assert time.monotonic() < deadline, self.logs(run)
            time.sleep(0.2)
        return run

    def logs(self, run: str) -> str:
        """All task logs of a run."""
        return "\n".join(path.read_text() for path in self.airflow.logs.rglob(f"*run_id={run}/**/*.log"))

    def requests(self, word: str) -> list[dict[str, Any]]:
        """What Vault's own log says was answered on an operation of the key, in order."""
        path = f"{self.realm.transit}/{word}/{self.key}"
        lines = (json.loads(line) for line in self.audit.read_text().splitlines())
        return [line for line in lines if line["type"] == "response" and line["request"]["path"] == path]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An AppRole of a worker, its connection in Airflow's database, and all components started."""
    folder = tmp_path_factory.mktemp("vault_airflow")
    with ExitStack() as stack:
        server: VaultServer = stack.enter_context(dev_server(binary_of(FLAVOUR), folder, FLAVOUR))
        realm = stack.enter_context(new_realm(server))
        audit = folder / "audit.log"
        server.do("PUT", "sys/audit/file", {"type": "file", "options": {"file_path": str(audit)}})
        key = realm.new_key()
        policy = realm.policy(
            transit_grant("writer", realm.transit, key) + transit_grant("reader", realm.transit, key)
        )
        role = Auth(realm).approle(policy)
        canary = f"canary-{secrets.token_hex(12)}"
        signals = folder / "signals"
        signals.mkdir()
        airflow = stack.enter_context(
            LocalAirflow(
                folder / "airflow",
                {
                    "core.xcom_backend": "secure_xcom.SecureXComBackend",
                    "secure_xcom.key_uris": realm.uri("vault_xcom", key),
                    "secure_xcom.store_uri": f"file://{folder}/airflow/store",
                    "secure_xcom.audit_sinks": f"file://{folder}/airflow/access-log.jsonl",
                    "scheduler.scheduler_idle_sleep_time": "0.2",
                    "core.parallelism": "3",
                },
                DAGS,
                environment={
                    "SECURE_XCOM_E2E_CANARY": canary,
                    "SECURE_XCOM_E2E_SIGNALS": str(signals),
                    "VAULT_MAX_RETRIES": "1",
                },
            )
        )
        (folder / "airflow" / "store").mkdir(mode=0o700)
        airflow.migrate()
        login = json.dumps(role.connection(server))
        added = airflow.airflow("connections", "add", "vault_xcom", "--conn-json", login)
        assert added.returncode == 0, added.stdout
        airflow.start()
        yield House(airflow, realm, role, key, canary, signals, audit)


def test_a_run_whose_token_is_revoked_halfway(house: House) -> None:
    """Everything that the DAG hands over goes through Vault, and a task survives that its token is taken away."""
    run = house.run()
    # Every token that the AppRole gave out is gone at this moment.
    house.realm.server.do("PUT", f"sys/leases/revoke-prefix/auth/{house.role.mount}/login", {})
    (house.signals / f"{run}.go").touch()
    assert house.airflow.wait(DAG, run) == "success", house.logs(run)

    rows = house.airflow.sql("SELECT value FROM xcom WHERE dag_id = ? AND run_id = ?", (DAG, run))
    # produce: 20, its result, and that once more by its two keys; double: 4; gather: 1; hold: 1.
    assert len(rows) == 29
    references = [json.loads(text) for (text,) in rows]
    assert {one["keys"][0]["uri"] for one in references} == {house.realm.uri("vault_xcom", house.key)}
    assert all(one["keys"][0]["wrapped"].startswith("vault:v1:") for one in references)
    # One data key for each of the seven task instances, however many XComs it pushed.
    assert len({one["keys"][0]["wrapped"] for one in references}) == 7
    assert len([line for line in house.requests("decrypt") if line.get("error")]) == 1


def test_vaults_log_has_as_many_requests_as_there_were_tries(house: House) -> None:
    """Vault was asked once for each try that pushed, and the unwraps of gather's 25 XComs were a few batches."""
    asked = {word: len(house.requests(word)) for word in ("encrypt", "decrypt")}
    run = house.run()
    (house.signals / f"{run}.go").touch()
    assert house.airflow.wait(DAG, run) == "success", house.logs(run)
    assert len(house.requests("encrypt")) - asked["encrypt"] == 7
    # gather: the secret with the extras, and the mapped parts, which a lazy sequence asks for one by one;
    # hold: gather's digest and the secret.
    assert 3 <= len(house.requests("decrypt")) - asked["decrypt"] <= 8


def test_the_access_log_fits_vaults_own(house: House) -> None:
    """Vault's log and ours tell the same of two runs, a token that was revoked halfway included."""
    server = house.realm.server
    environment = {**house.airflow.environment, "VAULT_ADDR": server.address, "VAULT_TOKEN": server.token}

    def audit(*words: str) -> tuple[int, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "secure-xcom", "audit", *words, "--json"],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout)

    until = (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    compare = ("reconcile", "--vault-log", str(house.audit), "--until", until)
    code, told = audit(*compare)
    assert (code, told["gaps"]) == (0, [])
    # The one request whose token was revoked was refused, and asked again with another.
    assert told["pairs"] == told["uses"] - 1 >= 6


def test_no_plaintext_lies_anywhere(house: House) -> None:
    """Neither the database, nor the store, nor a log, nor Vault's own log has the canary or the secret id."""
    places = [path for path in house.airflow.folder.rglob("*") if path.is_file()]
    assert len(places) > 30
    for word in (house.canary, house.role.secret_id):
        found = [str(path) for path in [*places, house.audit] if word.encode() in path.read_bytes()]
        # Airflow keeps a connection's password sealed with its Fernet key, or in clear where it has none.
        if word == house.role.secret_id:
            found = [path for path in found if not path.endswith(("airflow.db", "airflow.db-wal"))]
        assert found == []


def test_a_run_whose_role_is_gone_fails_by_name(house: House) -> None:
    """When the operator deletes the role, the next pull fails with an error that says what to do."""
    run = house.run()
    server = house.realm.server
    server.do("DELETE", house.role.path)
    server.do("PUT", f"sys/leases/revoke-prefix/auth/{house.role.mount}/login", {})
    (house.signals / f"{run}.go").touch()
    assert house.airflow.wait(DAG, run) == "failed"
    states = {one["task_id"]: one["state"] for one in house.airflow.task_instances(DAG, run)}
    assert states["gather"] == "success"
    assert states["hold"] == "failed"
    text = house.logs(run)
    assert "KeyServiceLoginRefused" in text
    assert "vault_xcom" in text
    assert "What to do" in text
    assert house.canary not in text
    assert house.role.secret_id not in text

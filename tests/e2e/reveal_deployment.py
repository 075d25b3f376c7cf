"""A deployment for reveals: OpenBao, an identity provider, an Airflow with rows, and the reveal service."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pandas as pd
import pytest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.keys import key_service
from tests.e2e.deployment import REPOSITORY
from tests.e2e.hunt import canary
from tests.support.reveal_world import RevealWorld, open_reveal_world
from tests.support.servers.vault_server import free_port
from tests.support.ui_rows import AirflowRows
from tests.support.world import World

DAG, RUN = "finance_daily", "manual__2026-12-01T08:00:00+00:00"
SEED = "the seed of the hunt for revealed values"
CANARY = canary(SEED, "revealed")
HOSTILE = "<img src=x onerror=alert(1)>\u202egnp.exe<script>alert(2)</script>"
VALUE: dict[str, Any] = {
    "customer": {"name": "Ada Lovelace", "since": 1843, "address": {"city": "London", "zip": "SW1Y"}},
    "amount": 99.5,
    "paid": True,
    "order": 2**70,
    "password": CANARY,
    "lines": [{"item": "engine", "price": 95.0}, {"item": "cards", "price": 4.5}],
}
FRAME = {"region": ["north", "south"], "amount": [1.5, 2.5], "token": [CANARY, CANARY]}


@dataclass
class RevealDeployment:
    """What runs, and where.

    :ivar address: Airflow's in the browser: another site than the reveal service's, as in most deployments.
    """

    folder: Path
    airflow: LocalAirflow
    rows: AirflowRows
    address: str
    origin: str
    references: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def access_log(self) -> Path:
        return self.folder / "audit" / "access-log.jsonl"

    def events(self, action: str = "reveal") -> list[dict[str, Any]]:
        """What the access log has of an action."""
        lines = self.access_log.read_text().splitlines() if self.access_log.exists() else []
        return [event for event in map(json.loads, lines) if event.get("action") == action]

    def tab(self, key: str) -> str:
        """The address of the tab with one XCom."""
        run = quote(RUN, safe="")
        return f"{self.address}/dags/{DAG}/runs/{run}/tasks/extract/plugin/sealed-xcoms?key={quote(key, safe='')}"

    def page(self, key: str) -> str:
        """The address of the reveal page by itself."""
        named = {"dag_id": DAG, "run_id": RUN, "task_id": "extract", "map_index": "-1", "key": key}
        return f"{self.origin}/#{urlencode(named)}"

    def cookie(self) -> dict[str, Any]:
        """A login at Airflow."""
        user, password = self.airflow.login
        answer = httpx.post(
            f"{self.airflow.url}/auth/token", json={"username": user, "password": password}, timeout=60
        )
        return {"name": "_token", "value": answer.json()["access_token"], "url": self.address}

    def edit(self, key: str, change: Mapping[str, Any]) -> None:
        """Change fields of a head in Airflow's database, as who writes rows can; no fields bring it back."""
        reference = json.loads(json.dumps(self.references[key]))
        reference["head"] |= change
        self.rows.replace(at(key), reference)

    def payload(self, key: str) -> Path:
        """The file of a payload."""
        return Path(self.references[key]["head"]["object"].removeprefix("file://"))


def at(key: str) -> Coordinate:
    """Where the XComs of these tests are."""
    return Coordinate(DAG, RUN, "extract", -1, key)


@contextmanager
def deployed(folder: Path, database: Path) -> Iterator[tuple[RevealWorld, RevealDeployment]]:
    """Run everything in a folder.

    :param database: a migrated, empty metadata database of Airflow.
    """
    for name in ("vault", "deployment"):
        (folder / name).mkdir()
    (folder / "vault" / "sealed" / "finance").mkdir(mode=0o700, parents=True)
    airflow_port, reveal_port = free_port(), free_port()
    with (
        open_reveal_world(
            folder / "vault",
            origin=f"http://127.0.0.1:{reveal_port}",
            airflow_origin=f"http://localhost:{airflow_port}",
        ) as world,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AIRFLOW_CONN_VAULT_DEFAULT", world.connection("finance-workers"))
        with _airflow_and_service(
            folder / "deployment", database, world.file, airflow_port=airflow_port, reveal_port=reveal_port
        ) as deployment:
            yield world, deployment


@contextmanager
def _airflow_and_service(
    folder: Path, database: Path, policy_file: Path, *, airflow_port: int, reveal_port: int
) -> Iterator[RevealDeployment]:
    address = f"http://localhost:{airflow_port}"
    for name in ("audit", "airflow"):
        (folder / name).mkdir(mode=0o700)
    settings = {
        "core.xcom_backend": "secure_xcom.SecureXComBackend",
        "core.sensitive_var_conn_names": "iban",
        "api.base_url": address,
        "secure_xcom.access_policy": str(policy_file),
        "secure_xcom.audit_sinks": f"file://{folder}/audit/access-log.jsonl",
        "secure_xcom.ui_audit_url": f"file://{folder}/audit/access-log.jsonl",
    }
    airflow = LocalAirflow(
        folder / "airflow", settings, environment={"PYTHONPATH": str(REPOSITORY)}, port=airflow_port
    )
    with ExitStack() as stack:
        stack.enter_context(airflow)
        shutil.copy(database, airflow.database)
        airflow.launch("api-server")
        rows = AirflowRows(f"sqlite:///{airflow.database}")
        stack.callback(rows.close)
        deployment = RevealDeployment(folder, airflow, rows, address, f"http://127.0.0.1:{reveal_port}")
        _fill(deployment, policy_file)
        stack.enter_context(_service(airflow, folder / "reveal.log", reveal_port))
        airflow.wait_healthy()
        yield deployment
        airflow.stop(patience=2)


def _fill(deployment: RevealDeployment, policy_file: Path) -> None:
    world = World(policy=AccessPolicy.load(str(policy_file)))
    world.pipeline = world.process(key_service)
    deployment.rows.dag(DAG)
    values = {
        "return_value": VALUE,
        "frame": pd.DataFrame(FRAME),
        "large": ["x" * 60] * 4000,
        HOSTILE: {HOSTILE: [HOSTILE]},
    }
    values |= {name: {"name": name, "password": CANARY} for name in ("edited", "swapped", "changed", "cut")}
    for key, value in values.items():
        reference = world.push(value, at(key))
        deployment.references[key] = reference
        deployment.rows.put(at(key), reference)


@contextmanager
def _service(airflow: LocalAirflow, log: Path, port: int) -> Iterator[None]:
    """Run ``secure-xcom reveal`` until the end."""
    program = str(Path(sys.executable).with_name("secure-xcom"))
    command = [program, "reveal", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=airflow.environment, cwd=airflow.folder, stdout=subprocess.PIPE, stderr=output
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert b"listening" in line, (line, log.read_text()[-3000:])
            yield
        finally:
            process.terminate()
            process.wait(20)

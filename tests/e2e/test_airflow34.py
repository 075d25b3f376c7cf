"""A whole Airflow 3.4: async pushes and pulls, triggers and loops, with an S3 store by an Airflow connection.

Airflow 3.4 is that of the interpreter that runs these tests, where it is 3.4 or later; else of the one that
SECURE_XCOM_TEST_AIRFLOW34_PYTHON names; else of `.venv-airflow34`, which `scripts/setup-venv .venv-airflow34
airflow34` makes. Without any of them the tests are skipped. The tests themselves read only files, SQLite and the
bucket, so their own Airflow may be an older one.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.ops.keyring import create_keyring
from tests.e2e.deployment import REPOSITORY
from tests.support.servers.s3_server import REGION, S3Server, s3_server

DAGS = Path(__file__).parent / "dags_airflow34"
RUN = "one"
LOOPS = ("loops_fixed", "loops_until", "loops_mapped", "loops_nested")
ASYNCHRONOUS = ("pulls_in_triggers", "pushes_in_triggers", "gathers")


def python_of_airflow34() -> str:
    """The interpreter that has Airflow 3.4."""
    given = os.environ.get("SECURE_XCOM_TEST_AIRFLOW34_PYTHON")
    if given:
        return given
    if tuple(map(int, version("apache-airflow-core").split(".")[:2])) >= (3, 4):
        return sys.executable
    beside = REPOSITORY / ".venv-airflow34" / "bin" / "python"
    if not beside.exists():
        pytest.skip("no Airflow 3.4: scripts/setup-venv .venv-airflow34 airflow34")
    return str(beside)


@dataclass
class House:
    """What the runs left behind."""

    airflow: LocalAirflow
    home: Path
    server: S3Server
    bucket: str
    states: dict[str, str]
    notes: dict[str, list[Any]]

    def events(self, *actions: str) -> list[dict[str, Any]]:
        """The access log's events of these kinds."""
        events = map(json.loads, (self.home / "access-log.jsonl").read_text().splitlines())
        return [event for event in events if event["action"] in actions]

    def objects(self) -> set[str]:
        """The names of all payloads in the bucket."""
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return {item["Key"] for page in pages for item in page.get("Contents", ())}


def _settings(home: Path, bucket: str) -> dict[str, str]:
    create_keyring(str(home / "keyring.json"))
    place = {"key_uris": [f"local://{home}/keyring.json"], "store_uri": f"s3://s3_xcom@{bucket}/xcom"}
    compartments = [
        {"name": "loops", "dags": ["loops_*"], **place},
        {"name": "triggers", "dags": ["*_triggers", "gathers"], **place},
    ]
    (home / "access_policy.yaml").write_text(json.dumps({"version": 1, "compartments": compartments}))
    return {
        "core.xcom_backend": "secure_xcom.SecureXComBackend",
        "core.parallelism": "4",
        "core.allowed_deserialization_classes": "airflow.* tests.e2e.*",
        "scheduler.scheduler_idle_sleep_time": "0.2",
        **(
            {"secure_xcom.key_uris": place["key_uris"][0], "secure_xcom.store_uri": place["store_uri"]}
            if os.environ.get("SINGLE")
            else {"secure_xcom.access_policy": str(home / "access_policy.yaml")}
        ),
        "secure_xcom.audit_sinks": f"file://{home}/access-log.jsonl",
        "secure_xcom.inline_max_bytes": "0",
        "secure_xcom.on_plaintext": "refuse",
    }


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One run of each DAG."""
    python = python_of_airflow34()
    home = tmp_path_factory.mktemp("airflow34") / "airflow"
    home.mkdir()
    notes = home / "notes.jsonl"
    notes.touch()
    with ExitStack() as stack:
        server = stack.enter_context(s3_server())
        bucket = server.make_bucket()
        environment = {"SECURE_XCOM_E2E_NOTES": str(notes), "PYTHONPATH": str(REPOSITORY)}
        airflow = stack.enter_context(
            LocalAirflow(
                home, _settings(home, bucket), DAGS, environment=environment, triggerer=True, python=python
            )
        )
        airflow.migrate()
        airflow.start()
        # In Airflow's database, so that every process has to ask Airflow for it.
        airflow.api(
            "POST",
            "/api/v2/connections",
            {
                "connection_id": "s3_xcom",
                "conn_type": "aws",
                "login": server.root.access_key,
                "password": server.root.secret_key,
                "extra": json.dumps({"endpoint_url": server.endpoint, "region_name": REGION}),
            },
        )
        dag_ids = os.environ.get("SECURE_XCOM_TEST_AIRFLOW34_DAGS", " ".join((*ASYNCHRONOUS, *LOOPS))).split()
        for dag_id in dag_ids:
            airflow.trigger(dag_id, run_id=RUN)
        states = {dag_id: airflow.wait(dag_id, RUN, timeout=int(os.environ.get("W", "240"))) for dag_id in dag_ids}
        airflow.stop()
        said = defaultdict(list)
        for record in map(json.loads, notes.read_text().splitlines()):
            said[record["name"]].append(record["outcome"])
        yield House(airflow, home, server, bucket, states, said)


def test_debug(house: House) -> None:
    print(house.states)
    for name, outcome in sorted(house.notes.items()):
        print(name, outcome)
    print(
        Counter(
            (event["action"], event["outcome"], event.get("error"))
            for event in house.events("push", "pull", "purge")
        )
    )
    print(len(house.objects()))

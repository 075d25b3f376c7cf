"""A whole Airflow 3.4: two retries and a clear, an exclusive XCom, and every job of maintenance afterwards."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.ops.keyring import create_keyring, rotate_keyring
from secure_xcom.ops.xcom_table import Database, StoredRow
from tests.e2e.deployment import REPOSITORY
from tests.support.airflow34 import python_of_airflow34

DAG, RUN = "attempts", "run_1"


@dataclass
class House:
    """A deployment whose DAG has run, with two retries, and was cleared once."""

    airflow: LocalAirflow
    home: Path

    def rows(self) -> list[StoredRow]:
        """All rows."""
        database = Database(f"sqlite:///{self.airflow.database}")
        try:
            return list(database.rows())
        finally:
            database.close()

    def payloads(self) -> int:
        """How many payloads the store has."""
        return sum(file.is_file() for file in (self.home / "store" / "default").rglob("*"))

    def command(self, *words: str) -> tuple[int, Any]:
        """Run a command in Airflow 3.4's environment."""
        done = subprocess.run(
            [str(Path(self.airflow.python).with_name("secure-xcom")), *words, "--json"],
            env=self.airflow.environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One run, whose first task is then cleared with what follows it."""
    python = python_of_airflow34()
    home = tmp_path_factory.mktemp("attempts")
    create_keyring(str(home / "keyring.json"))
    (home / "store").mkdir(mode=0o700)
    settings = {
        "core.xcom_backend": "secure_xcom.SecureXComBackend",
        "scheduler.scheduler_idle_sleep_time": "0.2",
        "secure_xcom.key_uris": f"local://{home}/keyring.json",
        "secure_xcom.store_uri": f"file://{home}/store",
        "secure_xcom.audit_sinks": f"file://{home}/access-log.jsonl",
        "secure_xcom.inline_max_bytes": "0",
    }
    dags = Path(__file__).parent / "dags_airflow34_rows"
    environment = {"PYTHONPATH": str(REPOSITORY)}
    with LocalAirflow(home / "airflow", settings, dags, environment=environment, python=python) as airflow:
        airflow.migrate()
        airflow.start()
        airflow.trigger(DAG, run_id=RUN)
        assert airflow.wait(DAG, RUN, timeout=300) == "success"
        body = {"dry_run": False, "dag_run_id": RUN, "task_ids": ["produce"], "include_downstream": True,
                "only_failed": False, "reset_dag_runs": True}  # fmt: skip
        airflow.api("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", body)
        end = time.monotonic() + 60
        while airflow.run_state(DAG, RUN) == "success" and time.monotonic() < end:
            time.sleep(0.2)
        assert airflow.wait(DAG, RUN, timeout=300) == "success"
        airflow.stop()
        yield House(airflow, home)


def test_maintenance_after_retries_and_a_clear(house: House) -> None:
    """Every row is known, archived attempts go with their run, and the live ones stay whole."""
    rows = house.rows()
    archived, live = [row for row in rows if row.archived], [row for row in rows if not row.archived]
    assert archived
    assert all(row.attempt for row in rows)
    shown = sorted((row.task_id, row.map_index, row.key) for row in live)
    lengths = "SELECT mapped_length FROM xcom_v2 WHERE mapped_length IS NOT NULL ORDER BY id"
    expanded = house.airflow.sql(lengths)
    before = house.payloads()

    gc = house.command("gc")[1]
    assert (gc["missing"], gc["orphans"], gc["unreadable"], gc["rows"]) == (0, 0, 0, len(rows))
    doctor = house.command("doctor")[1]
    assert doctor["archived"] == len(archived)
    assert "plaintext-row" not in {finding["kind"] for finding in doctor["found"]}

    rotate_keyring(str(house.home / "keyring.json"))
    rewrap = house.command("rewrap", "--apply")[1]
    shredded = sum("shredded" in row.value for row in rows)
    assert (rewrap["rewrapped"], rewrap["failed"]) == (len(rows) - shredded, 0)

    expire = house.command("expire", "--apply")[1]
    assert (expire["archived"], expire["deleted"], expire["failed"]) == (len(archived), len(archived), 0)
    assert house.payloads() == before - len(archived)
    assert sorted((row.task_id, row.map_index, row.key) for row in house.rows()) == shown
    assert house.airflow.sql(lengths) == expanded[-1:] == [(3,)]
    assert house.command("gc")[1]["orphans"] == 0
    assert house.command("expire")[1]["expired"] == 0


def test_an_exclusive_xcom_is_shredded(house: House) -> None:
    """Its reader has destroyed the data key in the row and deleted the payload: nothing is left to be done."""
    [row] = [row for row in house.rows() if row.task_id == "hand_over"]
    assert row.value["keys"] == []
    assert row.value["shredded"]
    report = house.command("claims", "shred", "--apply")[1]
    assert (report["due"], report["left"], report["tampered"]) == (0, 0, 0)


def test_a_value_is_opened_by_its_coordinate(house: House) -> None:
    """`open` and `inspect` find the live attempt."""
    at = f"{DAG}/{RUN}/produce"
    code, record = house.command("open", at, "--reason", "a test", "--show")
    assert (code, record["value"]) == (0, [1, 2, 3])
    assert house.command("open", f"{DAG}/{RUN}/each[2]", "--reason", "a test", "--show")[1]["value"] == 9

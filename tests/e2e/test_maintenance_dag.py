"""The maintenance DAG on a real Airflow, as it is shipped."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import path_segment
from secure_xcom.core.reference import is_reference
from secure_xcom.keys import key_service
from secure_xcom.ops.jobs.eligible_rows import EligibleRow, recognize
from secure_xcom.ops.jobs.job_registry import STEPS
from secure_xcom.ops.jobs.opener import Opener
from secure_xcom.ops.keyring import rotate_keyring
from secure_xcom.ops.xcom_table import Database
from secure_xcom.stores import store
from tests.e2e.deployment import OURS, Deployment
from tests.e2e.xcom_rows import select_xcoms
from tests.support.upkeep_world import long_ago, unique_of

SHIPPED = Path(__file__).parents[2] / "deploy" / "dags" / "secure_xcom_maintenance.py"
DAG = "secure_xcom_maintenance"
FIRST, SECOND = "counts", "deletes"


@dataclass
class Ran:
    """Two runs of the DAG: one that counts, one that deletes."""

    deployment: Deployment
    orphan: Path
    after_first: bool

    @property
    def folder(self) -> Path:
        return self.deployment.root

    def extras(self, run_id: str) -> dict[str, Any]:
        """The asset events of a run: task id -> extra."""
        rows = self.deployment.airflow.sql(
            "SELECT source_task_id, extra FROM asset_event WHERE source_run_id = ?", (run_id,)
        )
        return {str(task): json.loads(extra) for task, extra in rows}

    def report(self, run_id: str, task_id: str) -> Any:
        """A task's XCom, opened by the tests."""
        policy = AccessPolicy.single([f"local://{self.folder}/keys/keyring.json"], f"file://{self.folder}/store")
        opener = Opener(lambda value: value, services=key_service, stores=store, max_bytes=1 << 20)
        database = Database(f"sqlite:///{self.deployment.airflow.database}")
        try:
            for row in database.rows(dag_id=DAG):
                if (row.run_id, row.task_id, row.key) == (run_id, task_id, "return_value"):
                    found = recognize(row, policy, database)
                    assert isinstance(found, EligibleRow)
                    key, sealed = opener.fetch(found.reference, found.compartment, where=row.where)
                    data = opener.open(found.reference, key, sealed, row.where)
                    return opener.structure(found.reference, data, row.where)
        finally:
            database.close()
        raise AssertionError(f"no XCom of {task_id} in {run_id}")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Ran]:
    """A deployment with an orphan of two days ago, and old wraps."""
    folder = tmp_path_factory.mktemp("maintenance")
    dags = folder / "dags"
    dags.mkdir()
    shutil.copy(SHIPPED, dags)
    deployment = Deployment(OURS, folder, "upkeep", dags=dags, settings={}, database=migrated)
    deployment.airflow.environment["SECURE_XCOM_DB"] = f"sqlite:///{deployment.airflow.database}"
    with deployment:
        task = f"default/gone/{path_segment('manual__2026')}/extract/-1"
        orphan = deployment.root / "store" / task / unique_of(long_ago(days=2))
        orphan.parent.mkdir(parents=True)
        orphan.write_bytes(b"x" * 100)
        os.utime(orphan, (time.time() - 180_000,) * 2)
        airflow = deployment.airflow
        airflow.start(timeout=600)
        try:
            airflow.trigger(DAG, {"max_share": 1}, run_id=FIRST, timeout=600)
            assert airflow.wait(DAG, FIRST, timeout=600) == "success", airflow.task_instances(DAG, FIRST)
            after_first = orphan.exists()
            rotate_keyring(f"{deployment.root}/keys/keyring.json")
            conf = {"delete": True, "rewrap": True, "max_share": 1, "steps": ["rewrap", "gc", "doctor"]}
            airflow.trigger(DAG, conf, run_id=SECOND, timeout=600)
            assert airflow.wait(DAG, SECOND, timeout=600) == "success", airflow.task_instances(DAG, SECOND)
        finally:
            airflow.stop()
        yield Ran(deployment, orphan, after_first)


def test_it_counts_unless_told_to_delete(ran: Ran) -> None:
    """The first run finds the orphan and leaves it, the second deletes it."""
    assert ran.after_first
    assert not ran.orphan.exists()
    assert (ran.extras(FIRST)["gc"]["orphans"], ran.extras(FIRST)["gc"]["deleted"]) == (1, 0)
    assert ran.extras(SECOND)["gc"]["deleted"] == 1


def test_every_step_reports_as_a_sealed_xcom(ran: Ran) -> None:
    """Each step's report is an XCom that lies in the database as a reference, and opens as the report."""
    values = ran.deployment.airflow.sql(select_xcoms("value", "WHERE dag_id = ?"), (DAG,))
    assert len(values) >= len(STEPS) + 1
    assert all(is_reference(json.loads(value)) for (value,) in values)
    report = ran.report(FIRST, "gc")
    assert "gone" in report["orphan_examples"][0]
    assert ran.report(FIRST, "audit_anchor") == {"sealed_log": "none is set", "found": False}


def test_the_summary_is_an_xcom_and_an_asset_event(ran: Ran) -> None:
    """The summary holds the numbers of every step that ran, without opening an XCom, and names what was found."""
    summary = ran.report(FIRST, "summary")
    assert set(summary["steps"]) == set(STEPS)
    assert summary["not_done"] == []
    assert "gc" in summary["found"]
    assert ran.extras(FIRST)["summary"] == summary
    assert set(ran.report(SECOND, "summary")["steps"]) == {"rewrap", "gc", "doctor"}


def test_wraps_are_renewed_beside_the_running_dag(ran: Ran) -> None:
    """After a rotation the second run brings the first run's references to the new version."""
    assert ran.extras(SECOND)["rewrap"]["rewrapped"] >= len(STEPS)
    assert ran.report(FIRST, "expire")["rows"] >= 0


def test_nothing_was_pulled(ran: Ran) -> None:
    """The access log has the DAG's pushes and rewraps, and not one pull."""
    actions = [
        json.loads(line)["action"]
        for path in (ran.folder / "audit").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert {"push", "rewrap"} <= set(actions)
    assert "pull" not in actions

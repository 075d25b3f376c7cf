"""Many mapped task instances with real rows, by `dag.test()`, and what tasks print there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cases.mapped import PRINTED, value_of
from tests.e2e.conftest import SEED
from tests.e2e.deployment import OURS, Deployment
from tests.e2e.describe import digest
from tests.e2e.xcom_rows import select_xcoms

pytestmark = pytest.mark.xdist_group("e2e-in-process")

CASES = Path(__file__).parent / "cases"


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_mapped_instances_are_gathered(deployments: Path, migrated: Path, count: int) -> None:
    """Every instance's value has its row and its object, and a later task gets all of them in every way."""
    settings = {"logging.logging_level": "WARNING", "secure_xcom.mask_values": "named"}
    with Deployment(
        OURS, deployments / f"mapped-{count}", SEED, dags=CASES, settings=settings, database=migrated
    ) as deployment:
        command = (sys.executable, "-m", "tests.e2e.in_process", str(CASES / "mapped.py"))
        done = subprocess.run(
            [*command, "prints_here@2024-01-02T00:00:00+00:00", "mapped@2024-01-01T00:00:00+00:00"],
            env={**deployment.airflow.environment, "MAPPED": str(count)},
            capture_output=True,
            text=True,
            check=False,
            timeout=3000,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        assert {run[2] for run in deployment.runs()} == {"success"}
        notes = deployment.notes()
        rows = [
            json.loads(row[0]) for row in deployment.airflow.sql(select_xcoms("value", "WHERE task_id = 'each'"))
        ]
        objects = [
            file
            for file in (deployment.root / "store").rglob("*")
            if file.is_file() and "prints_here" not in file.parts
        ]
    values = [value_of(number, number) for number in range(count)]
    assert notes.said["length"] == [str(count)]
    for way in ("each item", "whole", "pulled"):
        assert notes.got[way] == [("builtins.list", digest(values))]
    assert notes.got["slice"] == [("builtins.list", digest(values[10:-10:7]))]
    assert notes.got["last"] == [("builtins.dict", digest(values[-1]))]
    assert sorted(int(row["head"]["map_index"]) for row in rows) == list(range(count))
    # There is no supervisor to mask what a task says: this process does.
    for start in ("printed", "written", "logged"):
        assert f"{start} {{'user': 'no secret', 'password': '***'}}" in done.stdout + done.stderr
    assert "with base 10: '***'" in done.stdout + done.stderr
    assert PRINTED not in done.stdout + done.stderr
    # One data key per task instance, and one object per value.
    assert len({row["keys"][0]["wrapped"] for row in rows}) == count
    assert len(objects) == count + 1

"""Triggerers that `doctor` names where rows are in plaintext."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from secure_xcom.core.findings import Finding
from secure_xcom.ops.checks.doctor_triggerers import examine_triggerers
from secure_xcom.ops.xcom_table import Database

PLAINTEXT = Finding("rows", "error", "rows with a plaintext value", "seal them", "plaintext-row")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with Airflow's jobs: two running triggerers, one that has ended, and a scheduler."""
    url = f"sqlite:///{tmp_path}/airflow.db"
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE job (id INTEGER, job_type TEXT, state TEXT, hostname TEXT)")
        connection.exec_driver_sql(
            "INSERT INTO job VALUES (1, 'TriggererJob', 'running', 'b'), (2, 'TriggererJob', 'running', 'a'),"
            " (3, 'TriggererJob', 'success', 'c'), (4, 'SchedulerJob', 'running', 'd')"
        )
    engine.dispose()
    database = Database(url)
    yield database
    database.close()


def test_plaintext_rows_may_be_of_a_running_triggerer(database: Database) -> None:
    """Each host is named, because only `check` there says which backend its triggers push through."""
    (finding,) = examine_triggerers([PLAINTEXT], database)
    assert (finding.rule, finding.status, finding.count) == ("triggerer-not-checked", "warning", 2)
    assert "run on a, b:" in finding.text
    assert "TaskSuccessEvent" in finding.text
    assert "secure-xcom check" in finding.remedy


def test_without_plaintext_nobody_is_suspected(database: Database) -> None:
    """Other findings say nothing of triggerers."""
    assert list(examine_triggerers([Finding("rows", "warning", "stale", "rewrap", "stale-wrap")], database)) == []

"""What the tests of the page look at: the demo's Airflow of two teams, and rows that only an attacker writes."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secure_xcom.demo import ui
from secure_xcom.demo.local_airflow import LocalAirflow
from tests.e2e.deployment import REPOSITORY

# What would run, load or hide something if any of it were taken for HTML or shown as it stands.
HOSTILE = "<img src=x onerror=alert(1)>\u202egnp.exe\x07<script>alert(2)</script>"
SHOWN = "<img src=x onerror=alert(1)>\\u202egnp.exe\\u0007<script>alert(2)</script>"
HOSTILE_RUN = "manual__<b onmouseover=alert(3)>"
BIG_RUN = "manual__big"
BIG = 10_000
EXPIRED = "2026-01-01T00:00:00Z"


@dataclass
class World:
    """A running API server, with what lies behind it."""

    airflow: LocalAirflow
    shown: ui.Shown

    def password(self, user: str) -> str:
        """The password of a user."""
        found = json.loads((self.airflow.folder / "passwords.json").read_text())
        return str(found[user])


@contextmanager
def world(folder: Path, database: Path) -> Iterator[World]:
    """Run the demo's DAGs once, add rows, and start the API server."""
    airflow = ui.make(
        folder,
        {"core.simple_auth_manager_users": "admin:admin,viewer:viewer"},
        {"PYTHONPATH": str(REPOSITORY)},
    )
    with airflow:
        shutil.copy(database, airflow.database)
        # It comes up while the DAGs run.
        airflow.launch("api-server")
        run_id = ui.run_dags(airflow)
        _add_expired(airflow, run_id)
        _add_hostile(airflow, run_id)
        _add_many(airflow, run_id)
        airflow.wait_healthy()
        yield World(airflow, ui.Shown(airflow, run_id))
        airflow.stop(patience=2)


def _copy(airflow: LocalAirflow, table: str, where: dict[str, Any], **changes: Any) -> None:
    names = [str(row[1]) for row in airflow.sql(f"PRAGMA table_info({table})")]
    kept = [name for name in names if name not in changes and not (table == "dag_run" and name == "id")]
    condition = " AND ".join(f"{name} = ?" for name in where)
    airflow.sql(
        f"INSERT INTO {table} ({', '.join([*kept, *changes])}) "  # noqa: S608 - Names of our own.
        f"SELECT {', '.join(kept)}{', ?' * len(changes)} FROM {table} WHERE {condition}",
        [*changes.values(), *where.values()],
    )


def _reference(airflow: LocalAirflow, run_id: str, task_id: str, key: str) -> dict[str, Any]:
    [(text,)] = airflow.sql(
        "SELECT value FROM xcom WHERE run_id = ? AND task_id = ? AND key = ?", (run_id, task_id, key)
    )
    return dict(json.loads(text))


def _insert(airflow: LocalAirflow, run_id: str, task_id: str, key: str, value: Any) -> None:
    airflow.sql(
        "INSERT INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, key, value, timestamp) "
        "SELECT id, dag_id, run_id, ?, -1, ?, ?, run_after FROM dag_run WHERE run_id = ?",
        (task_id, key, json.dumps(value), run_id),
    )


def _add_expired(airflow: LocalAirflow, run_id: str) -> None:
    """The demo's short-lived value is over at once, instead of in a minute."""
    row = _reference(airflow, run_id, "extract", "tmp_progress")
    row["head"]["expires"] = EXPIRED
    airflow.sql("UPDATE xcom SET value = ? WHERE run_id = ? AND key = 'tmp_progress'", (json.dumps(row), run_id))


def _add_hostile(airflow: LocalAirflow, run_id: str) -> None:
    run = {"dag_id": ui.DAG, "run_id": run_id}
    _copy(airflow, "dag_run", run, run_id=HOSTILE_RUN, logical_date=None)
    instance = {**run, "task_id": "load", "map_index": -1}
    _copy(airflow, "task_instance", instance, run_id=HOSTILE_RUN, id=uuid.uuid4().hex)
    sealed = _reference(airflow, run_id, "extract", "return_value")
    sealed["head"] |= {"run_id": HOSTILE_RUN, "task_id": "load", "key": HOSTILE}
    sealed["preview"] = {HOSTILE: [HOSTILE, {HOSTILE: "***"}]}
    _insert(airflow, HOSTILE_RUN, "load", HOSTILE, sealed)
    _insert(airflow, HOSTILE_RUN, "load", f"plain {HOSTILE}", {HOSTILE: HOSTILE})
    _insert(airflow, HOSTILE_RUN, "load", "broken", {"secure_xcom": 1, "head": HOSTILE})


def _add_many(airflow: LocalAirflow, run_id: str) -> None:
    """A mapped task with ten thousand instances, each with an XCom."""
    import sqlite3

    _copy(airflow, "dag_run", {"dag_id": ui.DAG, "run_id": run_id}, run_id=BIG_RUN, logical_date=None)
    instance = {"dag_id": ui.DAG, "run_id": run_id, "task_id": "region", "map_index": 0}
    _copy(airflow, "task_instance", instance, run_id=BIG_RUN, id=uuid.uuid4().hex, map_index=7)
    row = _reference(airflow, run_id, "totals", "return_value")
    row["head"] |= {"run_id": BIG_RUN, "task_id": "region"}
    [(number, time)] = airflow.sql("SELECT id, run_after FROM dag_run WHERE run_id = ?", (BIG_RUN,))

    def values() -> Iterator[tuple[Any, ...]]:
        for index in range(BIG):
            row["head"]["map_index"] = str(index)
            yield number, ui.DAG, BIG_RUN, "region", index, "return_value", json.dumps(row), time

    with sqlite3.connect(airflow.database) as connection:
        connection.executemany(
            "INSERT INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, key, value, timestamp) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values(),
        )
    connection.close()

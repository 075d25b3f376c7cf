"""Runs the DAGs of these tests on a real scheduler, the same way whatever the backend."""

from __future__ import annotations

import http.client
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.deployment import OBJECTS, OURS, Deployment, Notes
from tests.e2e.hunt import Hunt
from tests.e2e.xcom_rows import select_rendered_fields, select_xcoms

RUN = "one"
# Both runs of `later`, by their logical dates: the second one pulls what only the first one pushed.
LATER = {"first": "2024-03-01T00:00:00Z", "second": "2024-03-02T00:00:00Z"}
SAME = ("ways", "mapped", "branches", "prints_all", "prints_named", "unstoppable", "waiting")
ONLY_OURS = ("faults", "tampered_live")
# What is cleared when all has ended, and runs, or is skipped, again.
CLEARED = {
    ("ways", RUN): ["not_chosen"],
    ("later", "first"): ["tries"],
    ("branches", RUN): ["left", "right", "after_short", "after_polite"],
}
# Its one task waits for a trigger that does not fire, so that what lies in the database meanwhile is hunted.
ENDLESS = "waiting"
_TIMEOUT = 600


@dataclass
class Lived:
    """What a deployment left behind."""

    backend: str
    root: Path
    notes: Notes
    runs: list[tuple[Any, ...]]
    states: list[tuple[Any, ...]]
    rows: list[tuple[Any, ...]]
    values: dict[tuple[Any, ...], str]
    rendered: dict[str, dict[str, str]]
    hunt: Hunt
    seconds: float
    logs: Path = field(init=False)

    def __post_init__(self) -> None:
        self.logs = self.root / "logs"

    def log(self, dag_id: str, task_id: str, run_id: str = RUN, attempt: int = 1) -> str:
        """A task's log, as it lies on disk."""
        folder = self.logs / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return (folder / f"attempt={attempt}.log").read_text()

    def state(self, dag_id: str, task_id: str, run_id: str = RUN) -> str | None:
        """A task instance's state."""
        found = [row[4] for row in self.states if row[:4] == (dag_id, run_id, task_id, -1)]
        return found[0] if found else None


def live(deployment: Deployment) -> Lived:
    """Start it, run every DAG, write past the backend, clear and run again, stop it, hunt."""
    started = time.monotonic()
    airflow = deployment.airflow
    airflow.start(timeout=_TIMEOUT)
    try:
        runs = list(_trigger(deployment))
        key = {"key": "posted", "value": deployment.secret("REST write of an XCom"), "map_index": -1}
        for dag_id, run_id in runs:
            if dag_id != ENDLESS:
                airflow.wait(dag_id, run_id, timeout=_TIMEOUT)
        _wait_for_state(deployment, ENDLESS, "deferred")
        airflow.api("POST", f"/api/v2/dags/unstoppable/dagRuns/{RUN}/taskInstances/give/xcomEntries", key)
        for (dag_id, run_id), task_ids in CLEARED.items():
            _clear(deployment, dag_id, run_id, task_ids)
        for dag_id, run_id in CLEARED:
            airflow.wait(dag_id, run_id, timeout=_TIMEOUT)
    finally:
        airflow.stop()
    values = airflow.sql(select_xcoms("dag_id, run_id, task_id, map_index, key, value"))
    rendered: dict[str, dict[str, str]] = defaultdict(dict)
    for dag_id, task_id, fields in airflow.sql(select_rendered_fields("dag_id, task_id, rendered_fields")):
        rendered[dag_id][task_id] = str(fields)
    return Lived(
        deployment.backend,
        deployment.root,
        deployment.notes(),
        deployment.runs(),
        deployment.states(),
        deployment.rows(),
        {tuple(row[:5]): str(row[5]) for row in values},
        rendered,
        deployment.hunt(),
        time.monotonic() - started,
    )


def _trigger(deployment: Deployment) -> Iterator[tuple[str, str]]:
    airflow = deployment.airflow
    # The types are not part of the hunt, and most of them are none to an object storage backend.
    more = () if deployment.backend == OBJECTS else ("kinds",)
    for dag_id in (*SAME, *more, *(ONLY_OURS if deployment.backend == OURS else ())):
        conf: Mapping[str, str] = {"text": deployment.secret("dag_run.conf")} if dag_id == "unstoppable" else {}
        airflow.trigger(dag_id, conf, run_id=RUN, timeout=_TIMEOUT)
        yield dag_id, RUN
    for run_id, logical_date in LATER.items():
        body = {"dag_run_id": run_id, "logical_date": logical_date}
        end = time.monotonic() + _TIMEOUT
        while airflow.request("POST", "/api/v2/dags/later/dagRuns", body)[0] != http.client.OK:
            if time.monotonic() > end:
                raise TimeoutError("the DAG 'later' was not found in time")
            time.sleep(0.3)
        yield "later", run_id


def _clear(deployment: Deployment, dag_id: str, run_id: str, task_ids: list[str]) -> None:
    body = {
        "dry_run": False,
        "dag_run_id": run_id,
        "task_ids": task_ids,
        "only_failed": False,
        "reset_dag_runs": True,
    }
    deployment.airflow.api("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", body)


def _wait_for_state(deployment: Deployment, dag_id: str, state: str) -> None:
    end = time.monotonic() + _TIMEOUT
    while [row[4] for row in deployment.states() if row[0] == dag_id] != [state]:
        if time.monotonic() > end:
            raise TimeoutError(f"the task of {dag_id!r} is not {state}")
        time.sleep(0.3)

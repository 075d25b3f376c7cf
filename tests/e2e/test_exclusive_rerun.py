"""Each way in which Airflow makes another attempt of a task, and whether it pulls an exclusive XCom again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.ops.keyring import create_keyring
from tests.e2e.deployment import REPOSITORY

DAGS = Path(__file__).parent / "dags_rerun"
RUN = "one"
STRICT_ALONE = ("strict_run", "strict_cli")


@dataclass
class House:
    """What the runs left behind."""

    home: Path
    attempts: dict[str, list[dict[str, Any]]]

    def outcomes(self, name: str) -> list[str]:
        """How the attempts of a task fared, in order."""
        return [one["outcome"] for one in self.attempts[name]]

    def claims(self) -> list[dict[str, str]]:
        """The claims in the store."""
        found = [
            json.loads(path.read_bytes()) for path in (self.home / "store").rglob("~claims/**/*") if path.is_file()
        ]
        return [record["claim"] for record in found]


def _compartment(home: Path, name: str, **more: Any) -> dict[str, Any]:
    uris = {"key_uris": [f"local://{home}/keyring.json"], "store_uri": f"file://{home}/store"}
    return {"name": name, "dags": [f"{name}_*"], "exclusive": ["*_token"], **uris, **more}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Every road to another attempt, once."""
    home = tmp_path_factory.mktemp("rerun") / "airflow"
    (home / "store").mkdir(mode=0o700, parents=True)
    create_keyring(str(home / "keyring.json"))
    compartments = [_compartment(home, "strict", exclusive_rerun=False), _compartment(home, "lenient")]
    (home / "access_policy.yaml").write_text(yaml.safe_dump({"version": 1, "compartments": compartments}))
    notes, retries = home / "notes.jsonl", home / "retries"
    notes.touch()
    retries.write_text("2")
    airflow = LocalAirflow(
        home,
        {
            "core.xcom_backend": "secure_xcom.SecureXComBackend",
            "core.parallelism": "6",
            "dag_processor.min_file_process_interval": "2",
            "scheduler.scheduler_idle_sleep_time": "0.2",
            "secure_xcom.access_policy": str(home / "access_policy.yaml"),
            "secure_xcom.audit_sinks": f"file://{home}/access-log.jsonl",
        },
        DAGS,
        environment={"SECURE_XCOM_E2E_NOTES": str(notes), "PYTHONPATH": str(REPOSITORY)},
        triggerer=True,
    )
    with airflow:
        airflow.migrate()
        airflow.start()
        for dag_id in ("strict_ways", "lenient_ways", *STRICT_ALONE):
            airflow.trigger(dag_id, run_id=RUN)
        _until(airflow, "first attempts", lambda: _attempts(notes) >= _FIRST)
        retries.write_text("1")
        _until(airflow, "a DAG with fewer retries", lambda: _retries_of(airflow, "lowered") == 1)
        for task_id in ("failed", "lowered", "running"):
            _until(airflow, task_id, partial(_clearable, airflow, task_id))
            _clear(airflow, "strict_ways", task_id)
        _until(airflow, "failed", lambda: _state(airflow, "lenient_ways", "failed") == "failed")
        _clear(airflow, "lenient_ways", "failed")
        for dag_id in STRICT_ALONE:
            airflow.wait(dag_id, RUN)
        airflow.api(
            "POST", f"/api/v2/dags/strict_run/dagRuns/{RUN}/clear", {"dry_run": False, "only_failed": True}
        )
        done = airflow.airflow("tasks", "clear", "strict_cli", "--task-regex", "failed", "--only-failed", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        _until(airflow, "second attempts", lambda: _attempts(notes) >= _ALL)
        for name in GOES_ON:
            _until(airflow, name, partial(_has_pulled_twice, notes, name))
        airflow.stop()
        attempts: dict[str, list[dict[str, Any]]] = {}
        for line in notes.read_text().splitlines():
            one = json.loads(line)
            attempts.setdefault(one["task"], []).append(one)
        yield House(home, attempts)


def _clearable(airflow: LocalAirflow, task_id: str) -> bool:
    return _state(airflow, "strict_ways", task_id) == _CLEARED_AS[task_id]


# One attempt each, which pulls again after a while.
GOES_ON = ("strict_ways.deferred", "strict_ways.rescheduled")
_CLEARED_AS = {"failed": "failed", "lowered": "up_for_retry", "running": "running"}
_TASKS = ("retried", "failed", "lowered", "running", "deferred", "rescheduled")
_FIRST = {f"strict_ways.{task_id} 1" for task_id in _TASKS} | {
    f"{dag_id}.failed 1" for dag_id in ("lenient_ways", *STRICT_ALONE)
}
_ALL = _FIRST | {
    *(f"strict_ways.{task_id} 2" for task_id in ("retried", "failed", "lowered", "running")),
    *(f"{dag_id}.failed 2" for dag_id in ("lenient_ways", *STRICT_ALONE)),
    "lenient_ways.retried 2",
}


def _attempts(notes: Path) -> set[str]:
    return {f"{one['task']} {one['try_number']}" for one in map(json.loads, notes.read_text().splitlines())}


def _has_pulled_twice(notes: Path, name: str) -> bool:
    tasks = [json.loads(line)["task"] for line in notes.read_text().splitlines()]
    return tasks.count(name) > 1


def _until(airflow: LocalAirflow, what: str, done: Callable[[], bool], timeout: float = 240) -> None:
    end = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < end, f"{what}: {airflow.component_output('scheduler')[-3000:]}"
        time.sleep(0.3)


def _state(airflow: LocalAirflow, dag_id: str, task_id: str) -> str:
    found = airflow.sql("SELECT state FROM task_instance WHERE dag_id = ? AND task_id = ?", [dag_id, task_id])
    return str(found[0][0])


def _retries_of(airflow: LocalAirflow, task_id: str) -> int:
    found = airflow.api("GET", f"/api/v2/dags/strict_ways/tasks/{task_id}")
    return int(found["retries"])


def _clear(airflow: LocalAirflow, dag_id: str, task_id: str) -> None:
    body = {
        "dry_run": False,
        "dag_run_id": RUN,
        "task_ids": [task_id],
        "only_failed": False,
        "reset_dag_runs": True,
    }
    path = f"/api/v2/dags/{dag_id}/clearTaskInstances"
    status, answer = airflow.request("POST", path, body)
    for _ in range(30):
        if status != HTTPStatus.INTERNAL_SERVER_ERROR:
            break
        # On a busy machine another component holds SQLite's lock for longer than Airflow waits for it.
        time.sleep(1)
        status, answer = airflow.request("POST", path, body)
    assert status == HTTPStatus.OK, answer


ROADS = [
    "strict_ways.retried",
    "strict_ways.failed",
    "strict_ways.lowered",
    "strict_ways.running",
    "strict_run.failed",
    "strict_cli.failed",
]


@pytest.mark.parametrize("name", ROADS)
def test_no_road_leads_a_later_attempt_to_a_second_pull(house: House, name: str) -> None:
    """A retry, a clearing by the API, by a run's and by the command, of a failed, a waiting or a running task."""
    assert house.outcomes(name) == ["pulled", "ClaimRefused"]
    first, second = house.attempts[name]
    assert first["attempt"] != second["attempt"]
    assert (first["try_number"], second["try_number"]) == (1, 2)


@pytest.mark.parametrize("name", ["strict_ways.lowered", "strict_ways.retried"])
def test_max_tries_tells_no_clearing_from_a_retry(house: House, name: str) -> None:
    """Why the attempt counts: the first of these was cleared, the second was not, and both keep max_tries."""
    assert len({one["max_tries"] for one in house.attempts[name]}) == 1


@pytest.mark.parametrize("name", GOES_ON)
def test_an_attempt_that_goes_on_pulls_again(house: House, name: str) -> None:
    """A deferral and a reschedule are the same attempt in another process."""
    assert house.outcomes(name) == ["pulled", "pulled"]
    assert len({one["attempt"] for one in house.attempts[name]}) == 1


@pytest.mark.parametrize("name", ["lenient_ways.retried", "lenient_ways.failed"])
def test_where_the_compartment_says_so_every_attempt_pulls(house: House, name: str) -> None:
    """By default a retry and a re-run of the claimant pull again."""
    assert house.outcomes(name) == ["pulled", "pulled"]


def test_a_claim_names_the_attempt(house: House) -> None:
    """The stored claim is by the attempt that pulled first, as Airflow knows it."""
    first = {name: attempts[0]["attempt"] for name, attempts in house.attempts.items()}
    claimed = {f"{one['by_dag_id']}.{one['by_task_id']}": one["by_attempt"] for one in house.claims()}
    assert claimed.items() <= first.items()
    assert set(ROADS) <= set(claimed)


def test_each_refusal_is_a_refused_claim(house: House) -> None:
    """Every second pull that was refused is in the access log as a refused claim, by the try that made it."""
    events = [json.loads(line) for line in (house.home / "access-log.jsonl").read_text().splitlines()]
    refused = [one["consumer"] for one in events if (one["action"], one["outcome"]) == ("claim", "refused")]
    assert {f"{one['dag_id']}.{one['task_id']}" for one in refused} == set(ROADS)
    assert {one["try_number"] for one in refused} == {2}

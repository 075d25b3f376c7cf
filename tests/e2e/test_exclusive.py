"""Exclusive and expired XComs on a whole Airflow: claimed, refused, shredded at the task's end."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.pipeline.telemetry.measuring import OPERATIONS, XCOMS
from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.ops.jobs.shred import shred_all
from secure_xcom.ops.keyring import create_keyring
from secure_xcom.ops.xcom_table import Database
from secure_xcom.sinks import AccessLog
from tests.e2e.deployment import REPOSITORY
from tests.e2e.xcom_rows import select_xcoms
from tests.support.airflow34 import installed_series
from tests.support.claim_contract import a_day_later
from tests.support.doubles import MemorySink
from tests.support.servers.otlp_receiver import Receiver

DAGS = Path(__file__).parent / "dags_exclusive"
DAG = "exclusive_ways"

sends_from_tasks = pytest.mark.skipif(
    installed_series() < (3, 2),
    reason="Airflow 3.1 has no span in a task's process, and sends no metric at its end (metrics.md)",
)


@dataclass
class House:
    """What the run left behind."""

    airflow: LocalAirflow
    home: Path
    run_id: str
    canary: str
    told: Receiver

    def state(self, task_id: str) -> str:
        """A task instance's state."""
        # Airflow 3.4 keeps a row for each attempt; the live one is the newest.
        states = self.airflow.sql(
            "SELECT state FROM task_instance WHERE task_id = ? ORDER BY try_number", [task_id]
        )
        return str(states[-1][0])

    def raised(self, task_id: str) -> str:
        """The class of the error that ended a task."""
        lines = map(json.loads, self.airflow.log_text(DAG, self.run_id, task_id).splitlines())
        [ending] = [line for line in lines if line["event"] == "Task failed with exception"]
        return str(ending["error_detail"][0]["exc_type"])

    def row(self, task_id: str) -> dict[str, Any]:
        """What Airflow's database keeps of a task's XCom."""
        [(text,)] = self.airflow.sql(select_xcoms("value", "WHERE task_id = ?"), [task_id])
        found = json.loads(text)
        return dict(json.loads(found) if isinstance(found, str) else found)

    def files(self) -> list[str]:
        """Payloads and claims in the store."""
        store = self.home / "store"
        return [str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()]

    def events(self, *actions: str) -> list[dict[str, Any]]:
        """The access log's events of these kinds."""
        lines = (self.home / "access-log.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["action"] in actions]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[House]:
    """One run, of tasks that are given exclusive and short-lived values."""
    home = tmp_path_factory.mktemp("exclusive") / "airflow"
    (home / "store").mkdir(mode=0o700, parents=True)
    create_keyring(str(home / "keyring.json"))
    compartment = {
        "name": "all",
        "dags": ["*"],
        "key_uris": [f"local://{home}/keyring.json"],
        "store_uri": f"file://{home}/store",
        "exclusive": ["*_token"],
        "retention_of": [{"keys": ["short"], "retention": "1m"}],
    }
    policy = home / "access_policy.yaml"
    policy.write_text(yaml.safe_dump({"version": 1, "compartments": [compartment]}))
    canary = f"canary-{secrets.token_hex(12)}"
    receiver = Receiver()
    airflow = LocalAirflow(
        home,
        {
            "core.xcom_backend": "secure_xcom.SecureXComBackend",
            "secure_xcom.access_policy": str(policy),
            "secure_xcom.audit_sinks": f"file://{home}/access-log.jsonl",
            "scheduler.scheduler_idle_sleep_time": "0.2",
            "core.parallelism": "4",
            "metrics.otel_on": "True",
            "traces.otel_on": "True",
        },
        DAGS,
        environment={"SECURE_XCOM_E2E_CANARY": canary, "PYTHONPATH": str(REPOSITORY), **receiver.environment},
    )
    with receiver, airflow:
        airflow.migrate()
        airflow.start()
        run_id = airflow.trigger(DAG)
        airflow.wait(DAG, run_id, timeout=240)
        airflow.stop()
        yield House(airflow, home, run_id, canary, receiver)


def test_a_retry_of_the_claimant_reads_again(house: House) -> None:
    """The claimant's second try is given the value; its success makes one claim and one shredding."""
    assert house.state("read_twice") == "success"
    claims = [event for event in house.events("claim") if event["producer"]["task_id"] == "make"]
    assert [(event["outcome"], event["consumer"]["try_number"]) for event in claims] == [("ok", 1)]


def test_after_success_the_key_is_destroyed(house: House) -> None:
    """At the task's own end its listener has put what is left in the row's place and deleted the payload."""
    row = house.row("make")
    assert row["keys"] == []
    assert row["shredded"]
    assert [name for name in house.files() if "/make/" in name and "~claims" not in name] == []
    assert "is destroyed" in house.airflow.log_text(DAG, house.run_id, "read_twice", try_number=2)


def test_whoever_comes_after_is_told(house: House) -> None:
    """A pull of what was shredded fails by name, and is not None."""
    assert house.state("after_success") == "failed"
    assert house.raised("after_success") == "ReferenceShredded"


def test_a_second_reader_is_refused(house: House) -> None:
    """Another task is refused what a failed claimant had claimed: by name, with an event and an alarm."""
    assert house.state("second_reader") == "failed"
    assert house.raised("second_reader") == "ClaimRefused"
    assert "ALARM: " in house.airflow.log_text(DAG, house.run_id, "second_reader")
    refused = [event for event in house.events("claim") if event["outcome"] == "refused"]
    assert [event["consumer"]["task_id"] for event in refused] == ["second_reader"]
    assert house.row("push_token")["keys"]


def test_a_pull_of_any_run_is_refused(house: House) -> None:
    """include_prior_dates takes no claim."""
    assert house.raised("any_run") == "ClaimRefused"


def test_an_argument_is_claimed_and_masked(house: House) -> None:
    """A TaskFlow argument is pulled in the task's process; what is rendered of it is hidden."""
    assert house.state("read_argument") == "success"
    assert house.row("push_templated")["shredded"]
    for path in house.home.rglob("*"):
        if path.is_file():
            assert house.canary.encode() not in path.read_bytes(), path.name


def test_what_has_expired_is_refused(house: House) -> None:
    """A task is given a short-lived value at once, and refused it a minute later, though its bytes are there."""
    assert house.state("read_late") == "failed"
    assert house.raised("read_late") == "ReferenceExpired"
    pulls = [event for event in house.events("pull") if event["producer"]["task_id"] == "push_short"]
    assert [(event["outcome"], event.get("error")) for event in pulls] == [
        ("ok", None),
        ("refused", "ReferenceExpired"),
    ]
    assert [name for name in house.files() if "/push_short/" in name]


@sends_from_tasks
def test_what_airflow_was_told_is_what_the_access_log_says(house: House) -> None:
    """Metrics of all task processes together count what the access log has, by action and outcome, and no more."""
    actions = ("push", "pull", "claim", "purge")
    recorded = Counter((event["action"], event["outcome"]) for event in house.events(*actions))
    assert recorded["pull", "refused"] > 1
    assert house.told.added_up(OPERATIONS, "action", "outcome") == recorded
    given = Counter((action,) for action, outcome in recorded.elements() if outcome == "ok")
    assert house.told.added_up(XCOMS, "action") == given
    assert house.canary.encode() not in house.told.raw


@sends_from_tasks
def test_spans_lie_below_the_tasks_own(house: House) -> None:
    """Each push and each pull of a task is a span below the one of the task itself."""
    tree = house.told.tree()
    for action in ("push", "pull"):
        below = {parent for name, parent in tree if name == f"secure_xcom.{action}"}
        assert below
        assert sum(tree[f"secure_xcom.{action}", parent] for parent in below) == len(house.events(action))
        assert [parent for parent in below if not parent.startswith("worker.")] == []


def test_maintenance_takes_the_finished_claims_away(house: House) -> None:
    """`claims shred` ends what succeeded, with its claim, and leaves its right to the claimant that failed."""
    claims = [name for name in house.files() if "~claims" in name]
    assert sorted(name.split("/")[4] for name in claims) == ["make", "push_templated", "push_token"]
    database = Database(f"sqlite:///{house.airflow.database}")
    policy = AccessPolicy.load(str(house.home / "access_policy.yaml"))
    log = AccessLog([MemorySink()], version="test")
    # The readers' own processes destroyed the keys and deleted the payloads, and the claims stay for a day.
    assert shred_all(policy, database, log, delete=True, operator="me").due == 0
    with a_day_later():
        report = shred_all(policy, database, log, delete=True, operator="me")
    database.close()
    assert (report.due, report.outlived, report.left) == (0, 2, 0)
    assert [name.split("/")[4] for name in house.files() if "~claims" in name] == ["push_token"]
    assert house.row("push_token")["keys"]

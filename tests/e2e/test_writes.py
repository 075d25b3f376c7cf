"""Pushes and purges on a whole Airflow: a task's own in every way, and attacks on another compartment's."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.ops.keyring import create_keyring
from tests.e2e.deployment import REPOSITORY
from tests.support.servers.s3_server import REGION, S3Server, s3_server

DAGS = Path(__file__).parent / "dags_writes"
RUN = "one"
IN_THE_DAG_PROCESSOR = ("DAG callback push", "DAG callback delete")


@dataclass
class House:
    """What the runs left behind."""

    airflow: LocalAirflow
    home: Path
    canary: str
    states: dict[str, str]
    notes: dict[str, Any]

    def events(self, *actions: str, **producer: str) -> list[dict[str, Any]]:
        """The access log's events of these kinds, about what a task pushed."""
        events = map(json.loads, (self.home / "access-log.jsonl").read_text().splitlines())
        return [
            event
            for event in events
            if event["action"] in actions and producer.items() <= event.get("producer", {}).items()
        ]

    def refused(self, action: str, key: str) -> list[tuple[str, str, str]]:
        """Who was refused to write at the victim's coordinate: DAG, rule and error."""
        return [
            (event.get("task", {}).get("dag_id", "nobody"), event["rule"], event["error"])
            for event in self.events(action, dag_id="finance_daily", key=key)
            if event["outcome"] == "refused"
        ]

    def payloads(self, compartment: str, task_id: str) -> int:
        """How many payloads of a task lie in a compartment's store."""
        found = (self.home / f"store-{compartment}").rglob("*")
        return sum(path.is_file() and f"/{task_id}/" in str(path) for path in found)


def _policy(home: Path, bucket: str) -> dict[str, Any]:
    def compartment(name: str, **more: Any) -> dict[str, Any]:
        uris = {"key_uris": [f"local://{home}/{name}.json"], "store_uri": f"file://{home}/store-{name}"}
        return {"name": name, "dags": [f"{name}_*"], **uris, **more}

    compartments = [compartment("finance"), compartment("marketing"), compartment("payroll", bundles=["own"])]
    # Its store is opened with an Airflow connection.
    compartments.append(compartment("waits", store_uri=f"s3://s3_waits@{bucket}/xcom"))
    return {"version": 1, "compartments": compartments}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """A bucket's server."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, migrated: Path, s3: S3Server) -> Iterator[House]:
    """One run of each DAG: the victim, the attacker, what the victim reads then, and what is allowed."""
    home = tmp_path_factory.mktemp("writes") / "airflow"
    home.mkdir()
    for name in ("finance", "marketing", "payroll", "waits"):
        create_keyring(str(home / f"{name}.json"))
        (home / f"store-{name}").mkdir(mode=0o700)
    (home / "access_policy.yaml").write_text(yaml.safe_dump(_policy(home, s3.make_bucket())))
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    settings = {
        "core.xcom_backend": "secure_xcom.SecureXComBackend",
        "core.parallelism": "4",
        "dag_processor.dag_bundle_config_list": json.dumps(
            [{"name": "own", "classpath": local, "kwargs": {"path": str(DAGS)}}]
        ),
        "scheduler.scheduler_idle_sleep_time": "0.2",
        "secure_xcom.access_policy": str(home / "access_policy.yaml"),
        "secure_xcom.audit_sinks": f"file://{home}/access-log.jsonl",
        "secure_xcom.inline_max_bytes": "0",
        "secure_xcom.on_plaintext": "refuse",
    }
    canary = f"canary-{secrets.token_hex(12)}"
    notes = home / "notes.jsonl"
    notes.touch()
    environment = {
        "SECURE_XCOM_E2E_CANARY": canary,
        "SECURE_XCOM_E2E_NOTES": str(notes),
        "PYTHONPATH": str(REPOSITORY),
        "AIRFLOW_CONN_S3_WAITS": json.dumps(
            {
                "conn_type": "aws",
                "login": s3.root.access_key,
                "password": s3.root.secret_key,
                "extra": {"endpoint_url": s3.endpoint, "region_name": REGION},
            }
        ),
    }
    with LocalAirflow(home, settings, DAGS, environment=environment, triggerer=True) as airflow:
        airflow.migrate()
        airflow.start()
        states = {}
        for together in (
            ("finance_daily", "marketing_sister"),
            ("marketing_attacks", "marketing_defers", "payroll_own"),
            ("waits_together",),
        ):
            for dag_id in together:
                airflow.trigger(dag_id, run_id=RUN)
            states.update({dag_id: airflow.wait(dag_id, RUN, timeout=300) for dag_id in together})
        _wait_for_notes(notes)
        airflow.trigger("finance_reads", run_id=RUN)
        states["finance_reads"] = airflow.wait("finance_reads", RUN, timeout=240)
        airflow.stop()
        yield House(airflow, home, canary, states, _read(notes))


def _read(notes: Path) -> dict[str, Any]:
    return {one["name"]: one["outcome"] for one in map(json.loads, notes.read_text().splitlines())}


def _wait_for_notes(notes: Path) -> None:
    """Wait for the DAG processor; what does not come is missed by the test that is about it."""
    end = time.monotonic() + 90
    while not set(IN_THE_DAG_PROCESSOR) <= set(_read(notes)) and time.monotonic() < end:
        time.sleep(0.3)


@pytest.mark.parametrize("name", ["set", "aset", "serialize", "dressed"])
def test_a_push_at_anothers_coordinate_is_refused(house: House, name: str) -> None:
    """A task of another compartment pushes nothing there, whatever its environment says; events name the rule."""
    assert house.notes[name] == "WriteRefused"
    key = "set" if name == "serialize" else name
    wanted = ("marketing_attacks", "producer.compartment", "WriteRefused")
    assert Counter(house.refused("push", key))[wanted] == (2 if key == "set" else 1)
    if name != "serialize":
        assert house.notes[f"read {key}"] == "as pushed"


def test_a_delete_of_anothers_xcom_leaves_row_and_payload(house: House) -> None:
    """`XCom.delete` fails by name before Airflow deletes the row; the victim pulls it as before."""
    assert house.notes["delete"] == "WriteRefused"
    assert house.refused("purge", "delete") == [("marketing_attacks", "producer.compartment", "WriteRefused")]
    assert house.notes["read delete"] == "as pushed"


@pytest.mark.parametrize(
    ("key", "left"),
    [("raw reference", "CoordinateMismatch"), ("raw plain", "PlaintextRefused"), ("raw delete", "None")],
)
def test_the_row_itself_is_anybodys_without_teams(house: House, key: str, left: str) -> None:
    """Past our code Airflow lets a task overwrite and delete any row: nothing forged is read, but it is lost."""
    assert house.notes[key] == "done"
    assert house.notes[f"read {key}"] == left


def test_nothing_forged_was_sealed_with_the_victims_key(house: House) -> None:
    """What lies in the victim's store is what the victim pushed, and every payload of it is still there."""
    assert house.payloads("finance", "make") == 8
    assert {
        event["rule"] for event in house.events("push", dag_id="finance_daily") if event["outcome"] == "ok"
    } == {"own"}


@pytest.mark.parametrize("name", ["sister set", "sister read", "sister delete"])
def test_tasks_of_one_compartment_may_write_for_each_other(house: House, name: str) -> None:
    """Another DAG of the same compartment is no other compartment."""
    assert house.notes[name] == "done"


def test_the_tasks_own_ways_all_work(house: House) -> None:
    """Retries, mapped ones too, callbacks and listeners write, in a compartment that asks for a bundle."""
    assert house.states["payroll_own"] == "failed"
    states = house.airflow.sql("SELECT task_id, state FROM task_instance WHERE dag_id = 'payroll_own'")
    assert Counter(states) == {
        ("twice", "success"): 1,
        ("mapped", "success"): 2,
        ("succeeds", "success"): 1,
        ("has_a_listener", "success"): 1,
        ("fails_early", "failed"): 1,
    }
    events = house.events("push", "purge", dag_id="payroll_own")
    assert {(event["outcome"], event["rule"], event["task"]["bundle"]) for event in events} == {
        ("ok", "own", "own")
    }
    pushed = Counter((event["task"]["task_id"], event["producer"]["key"]) for event in events)
    assert pushed["succeeds", "by_callback"] == pushed["fails_early", "by_callback"] == 1
    assert pushed["has_a_listener", "by_listener"] == 1


def test_what_a_retry_clears_is_purged_by_name(house: House) -> None:
    """Airflow clears before it has a context; the event says which try did it, to the map index."""
    purged = [event["task"] for event in house.events("purge", dag_id="payroll_own")]
    assert Counter((one["task_id"], one["map_index"], one["try_number"]) for one in purged) == {
        ("twice", -1, 2): 1,
        ("mapped", 0, 2): 1,
        ("mapped", 1, 2): 1,
    }
    assert house.payloads("payroll", "twice") == 2
    assert house.payloads("payroll", "mapped") == 4


@pytest.mark.parametrize("way", ["trigger aset", "trigger set in a thread"])
def test_a_trigger_writes_for_its_task_alone(house: House, way: str) -> None:
    """Airflow names a trigger's task instance: its pushes are that one's, and go to its compartment only."""
    assert house.notes[f"{way} own"] == "done"
    assert house.notes[f"{way} others"] == "WriteRefused"
    key = "by_trigger" if way == "trigger aset" else "by_trigger_thread"
    [own] = house.events("push", dag_id="marketing_defers", key=key)
    assert (own["outcome"], own["rule"], own["task"]["task_id"]) == ("ok", "own", "defers")
    assert house.refused("push", key) == [("marketing_defers", "producer.compartment", "WriteRefused")]
    assert house.notes["trigger aset read"] == house.notes["trigger thread read"] == "done"


def test_triggers_that_block_do_not_stop_the_triggerer(house: House) -> None:
    """Four at once open a store by an Airflow connection, and pull as the tasks that wait for them."""
    assert house.states["waits_together"] == "success"
    consumers = [
        event["consumer"]["task_id"]
        for event in house.events("pull", dag_id="waits_together", task_id="make")
        if event["outcome"] == "ok"
    ]
    assert sorted(consumers) == [f"waits_{number}" for number in range(4)]
    assert [house.notes[f"waits_{number} get_one"] for number in range(4)] == [{"password": house.canary}] * 4


def test_a_trigger_has_a_data_key_for_each_try(house: House) -> None:
    """What a trigger pushes in a retry has another data key than what it pushed before."""
    pushes = house.events("push", dag_id="waits_together", task_id="pushes")
    assert [event["task"]["try_number"] for event in pushes] == [1, 2]
    pulls = house.events("pull", dag_id="waits_together", task_id="pushes")
    assert [event["cache_hit"] for event in pulls] == [True, True]


def test_the_dag_processor_writes_for_nobody(house: House) -> None:
    """A DAG's callback runs where Airflow names no task instance and takes no XCom: no push, and no purge."""
    assert house.notes["DAG callback push"] == "WriteRefused"
    [push] = house.events("push", dag_id="marketing_sister", key="by_dag_callback")
    assert (push["outcome"], push["rule"], push.get("task")) == ("refused", "producer", None)
    assert house.notes["DAG callback delete"] == "WriteRefused"
    assert house.refused("purge", "callback") == [("nobody", "producer", "WriteRefused")]
    assert house.notes["read callback"] == "as pushed"


def test_no_canary_leaves(house: House) -> None:
    """No refusal and no event tells what was pushed."""
    for path in (house.home / "access-log.jsonl", *house.airflow.logs.rglob("*.log")):
        assert house.canary.encode() not in path.read_bytes(), path.name

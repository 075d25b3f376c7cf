"""A whole Airflow 3.4: async pushes and pulls, triggers and loops, with an S3 store by an Airflow connection.

The tests themselves read only files, SQLite and the bucket, so their own Airflow may be an older one
(tests/support/airflow34.py).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.ops.keyring import create_keyring
from tests.e2e.deployment import REPOSITORY
from tests.support.airflow34 import python_of_airflow34
from tests.support.servers.s3_server import REGION, S3Server, s3_server

DAGS = Path(__file__).parent / "dags_airflow34"
RUN = "one"
LOOPS = ("loops_fixed", "loops_until", "loops_mapped", "loops_nested", "loops_exchanged")
ASYNCHRONOUS = ("pulls_in_triggers", "pushes_in_triggers", "gathers")
DAG_IDS = (*ASYNCHRONOUS, *LOOPS)


@dataclass
class House:
    """What the runs left behind."""

    airflow: LocalAirflow
    home: Path
    server: S3Server
    bucket: str
    states: dict[str, str]
    notes: Mapping[str, list[Any]]

    def events(self, *actions: str) -> list[dict[str, Any]]:
        """The access log's events of these kinds."""
        events = map(json.loads, (self.home / "access-log.jsonl").read_text().splitlines())
        return [event for event in events if event["action"] in actions]

    def rows(self, dag_id: str = "%", task_id: str = "%", key: str = "%") -> list[dict[str, Any]]:
        """All references, those of archived attempts included."""
        rows = self.airflow.sql(
            "SELECT x.value FROM xcom_v2 x JOIN task_instance t ON t.id = x.task_instance_id"
            " WHERE t.dag_id LIKE ? AND t.task_id LIKE ? AND x.key LIKE ?",
            (dag_id, task_id, key),
        )
        return [json.loads(value) for (value,) in rows]

    def objects(self) -> set[str]:
        """The names of all payloads in the bucket."""
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return {item["Key"] for page in pages for item in page.get("Contents", ())}


def _settings(home: Path, bucket: str) -> dict[str, str]:
    create_keyring(str(home / "keyring.json"))
    compartments = [
        {
            "name": name,
            "dags": dags,
            "key_uris": [f"local://{home}/keyring.json"],
            "store_uri": f"s3://s3_xcom@{bucket}/xcom",
        }
        for name, dags in (("loops", ["loops_*"]), ("triggers", ["*_triggers", "gathers"]))
    ]
    (home / "access_policy.yaml").write_text(json.dumps({"version": 1, "compartments": compartments}))
    return {
        "core.xcom_backend": "secure_xcom.SecureXComBackend",
        "core.parallelism": "4",
        "scheduler.scheduler_idle_sleep_time": "0.2",
        "secure_xcom.access_policy": str(home / "access_policy.yaml"),
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
        settings = _settings(home, bucket)
        airflow = stack.enter_context(
            LocalAirflow(home, settings, DAGS, environment=environment, triggerer=True, python=python)
        )
        airflow.migrate()
        airflow.start()
        extra = {"endpoint_url": server.endpoint, "region_name": REGION}
        connection = {
            "connection_id": "s3_xcom",
            "conn_type": "aws",
            "login": server.root.access_key,
            "password": server.root.secret_key,
            "extra": json.dumps(extra),
        }
        # In Airflow's database, so that every process has to ask Airflow for it.
        airflow.api("POST", "/api/v2/connections", connection)
        for dag_id in DAG_IDS:
            airflow.trigger(dag_id, run_id=RUN)
        states = {dag_id: airflow.wait(dag_id, RUN, timeout=1500) for dag_id in DAG_IDS}
        airflow.stop()
        outcomes = defaultdict(list)
        for record in map(json.loads, notes.read_text().splitlines()):
            outcomes[record["name"]].append(record["outcome"])
        yield House(airflow, home, server, bucket, states, outcomes)


def test_every_iteration_gets_its_own_values(house: House) -> None:
    """Values, exclusive ones and `loop.previous` are of the right iteration; outside, all come in order."""
    assert house.states["loops_exchanged"] == "success"
    for iteration in range(3):
        password = f"of iteration {iteration}"
        assert house.notes[f"produce of iteration {iteration}"] == [{"iteration": iteration, "password": password}]
        assert house.notes[f"token of iteration {iteration}"] == [{"password": password}]
    assert house.notes["previous"] == [{"iteration": 1}]
    assert house.notes["mapped"] == [[{"iteration": 1, "number": 0}, {"iteration": 1, "number": 1}]]
    assert house.notes["all"] == [[{"iteration": 0}, {"iteration": 1}, {"iteration": 2}]]


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("produce, row of iteration 0", "AttemptMismatch"),
        ("token, row of iteration 0", "AttemptMismatch"),
        ("mapped, row of iteration 0", "AttemptMismatch"),
        ("all mapped, row of iteration 0", "AttemptMismatch"),
        ("previous, row of iteration 0", "AttemptMismatch"),
        ("all, row of iteration 0 at 1", "CoordinateMismatch"),
        ("all, row of iteration 0 at 2", "CoordinateMismatch"),
        ("own, row of the try before", "AttemptMismatch"),
        # Airflow does not tell a task which attempt of another one is the live one: docs/reference/format.md.
        ("own of another task, row of the try before", {"try": 1, "iteration": 1}),
    ],
)
def test_a_row_that_was_exchanged_is_refused(house: House, name: str, outcome: object) -> None:
    """Whoever writes to the database puts a row of another iteration or attempt in the place of one."""
    assert house.notes[name] == [outcome]


def test_events_name_attempts_and_iterations(house: House) -> None:
    """Each push has its own task instance as the producer's attempt; each iteration claims for itself."""
    pushes = [event for event in house.events("push") if event["producer"]["dag_id"] == "loops_exchanged"]
    assert all(event["producer"].get("attempt") == event["task"]["attempt"] for event in pushes)
    # A mapped task's return value is pushed when its context is gone.
    mapped = {
        (event["producer"]["map_index"], event["producer"]["iteration"])
        for event in pushes
        if event["producer"]["task_id"] == "body.each"
    }
    assert mapped == {(index, iteration) for index in (0, 1) for iteration in range(3)}
    claims = [event for event in house.events("claim") if event["outcome"] == "ok"]
    iterations = [(event["producer"]["iteration"], event["consumer"]["iteration"]) for event in claims]
    assert sorted(iterations) == [(0, 0), (1, 1), (2, 2)]
    assert len({event["consumer"]["attempt"] for event in claims}) == 3


@pytest.mark.parametrize("dag_id", [dag_id for dag_id in DAG_IDS if dag_id != "loops_exchanged"])
def test_the_run_succeeds(house: House, dag_id: str) -> None:
    """No push and no pull of any task, trigger or gate is refused."""
    assert house.states[dag_id] == "success"
    events = [event for event in house.events("push", "pull") if event["producer"]["dag_id"] == dag_id]
    assert events
    assert {event["outcome"] for event in events} == {"ok"}


@pytest.mark.parametrize("way", ["get_one", "aget_one"])
def test_four_triggers_at_once_pull(house: House, way: str) -> None:
    """Triggers that block on their pulls do not stop the triggerer, which asks Airflow for the connection."""
    assert [house.notes[f"{way}_{number} {way}"] for number in range(4)] == [
        [{"password": "of a task", "n": 1}]
    ] * 4
    pulls = [event["consumer"] for event in house.events("pull") if event["producer"]["task_id"] == "make"]
    ids = [task["task_id"] for task in pulls if task["dag_id"] == "pulls_in_triggers"]
    # As the tasks that wait for them, each of which is recorded.
    assert {f"{way}_{number}" for number in range(4)} <= set(ids)


@pytest.mark.parametrize("way", ["set", "aset", "thread"])
def test_a_trigger_pushes_as_its_task_with_a_data_key_for_each_try(house: House, way: str) -> None:
    """In both tries the trigger pulls what it pushed; the tries share no data key."""
    assert house.notes[f"pushes_{way} {way}"] == [{"password": "of a trigger"}] * 2
    pushes = [event for event in house.events("push") if event["producer"]["task_id"] == f"pushes_{way}"]
    assert [(event["rule"], event["task"]["try_number"]) for event in pushes] == [("own", 1), ("own", 2)]
    rows = house.rows("pushes_in_triggers", f"pushes_{way}", "by_trigger")
    assert len({key["wrapped"] for row in rows for key in row["keys"]}) == len(rows) == 2


def test_twenty_pushes_and_a_pull_at_once_end(house: House) -> None:
    """A task that gathers them does not wait for ever for the connection of its store."""
    assert house.notes["gather"] == [{"password": "of a task", "n": 1}]
    assert house.notes["gathered"] == [[f"p{number}" for number in range(20)]]
    events = [event for event in house.events("push") if event["producer"]["task_id"] == "gather"]
    rows = [row for number in range(20) for row in house.rows("gathers", "gather", f"k{number}")]
    assert len(events) == len(rows) == 20
    # One wrap serves all of them, as in a task that pushes one after the other.
    assert len({key["wrapped"] for row in rows for key in row["keys"]}) == 1


def test_a_cancelled_push_leaves_no_payload(house: House) -> None:
    """Whenever it is cancelled, it is whole or nothing: a row for each payload."""
    # Of what was exclusive and is read, the row stays and the payload does not.
    rows = [row for row in house.rows() if "shredded" not in row]
    named = {row["head"]["object"].partition(f"{house.bucket}/")[2] for row in rows}
    assert {name for name in house.objects() if "~claims/" not in name} == named
    assert [event for event in house.events("purge") if event["producer"]["task_id"] == "cancel"]


LOOPED: dict[str, list[Any]] = {
    "fixed previous 0": [0],
    "fixed previous 1": [1],
    "fixed previous 2": [2],
    "fixed own 0": [{"square": 0}],
    "fixed own 1": [{"square": 1}],
    "fixed own 2": [{"square": 4}],
    "fixed outside": [[{"n": 1}, {"n": 2}, {"n": 3}]],
    "fixed outside again": [
        [{"n": 1}, {"n": 3}, [{"n": 2}, {"n": 3}], [{"n": 3}, {"n": 2}, {"n": 1}]],
    ],
    "fixed outside square": [[{"square": 0}, {"square": 1}, {"square": 4}]],
    "fixed outside many": [[{"n": 1}, {"n": 2}, {"n": 3}] * 2],
    "mapped previous 1": [[1, 2, 3, 1, 3]],
    "mapped previous 2": [[3, 4, 5, 3, 5]],
    "mapped result 0": [[[1, 2, 3], 2, 3]],
    "mapped result 1": [[[3, 4, 5], 4, 3]],
    "mapped result 2": [[[6, 7, 8], 7, 3]],
    "mapped outside": [[1, 2, 3, 3, 4, 5, 6, 7, 8]],
    "mapped outside choose": [[[1, 2, 3], [2, 3, 4], [4, 5, 6]]],
    "nested outside": [[{"n": 20}, {"n": 42}, {"n": 86}]],
    "nested outside end": [[{"n": 21}, {"n": 43}, {"n": 87}]],
}
"""What the tasks of `dags_airflow34/loops.py` note on Airflow's own backend."""


@pytest.mark.parametrize("name", LOOPED)
def test_loops_give_the_values_of_airflows_own_backend(house: House, name: str) -> None:
    """Within an iteration, of the previous one, of the gate, and of all iterations from outside."""
    assert house.notes[name] == LOOPED[name]


def test_a_gate_reads_the_result_of_its_iteration(house: House) -> None:
    """A loop until something is reached ends when Newton's method has it."""
    results = [house.notes[f"until result {index}"][0] for index in range(4)]
    assert [value["error"] < 0.000001 for value in results] == [False, False, False, True]
    assert house.notes["until outside"] == [results]

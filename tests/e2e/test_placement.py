"""Where tasks run on a real scheduler: two bundles, a team, two executors, and files that fight our policy."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.ops.keyring import create_keyring

DAGS = Path(__file__).parent / "dags_placed"
HELD = "held by secure_xcom: see the log of the scheduler and the API server"
HOSTILE = (
    "marketing_steals_queue",
    "marketing_steals_executor",
    "marketing_spells_queue",
    "marketing_lists_queue",
    "marketing_spells_executor",
    "marketing_names_class",
    "marketing_takes_caretaker",
    "marketing_brings_template",
    "marketing_brings_role",
    "marketing_becomes_root",
    "finance_taken",
)
RUNNING = ("finance_good", "finance_sly", "marketing_plain", "marketing_late")
# It takes triggers of this team and this queue only, so what it runs was sent to it.
TRIGGERER = ("--team-name", "finance", "--queues", "finance")
KNOWN = {*HOSTILE, *RUNNING, "finance_long"}


BUNDLE_OF_LONG = "SELECT bundle_name FROM dag WHERE dag_id = 'finance_long'"
# What another team writes to have its code run in a run of finance's.
THIEF = """
from datetime import datetime, timezone
from airflow import settings
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG
from tests.e2e.placed_note import note
vars(settings).update(dag_policy=lambda dag: None, task_policy=lambda task: None)
with DAG("finance_long", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    steps = [PythonOperator(task_id=name, python_callable=note, op_args=["finance_long", "stolen"])
             for name in ("first", "second")]
    steps[0] >> steps[1]
"""


@dataclass
class House:
    """A running Airflow and what its tasks noted."""

    airflow: LocalAirflow
    policy: Path
    dags: Path
    notes_file: Path
    states: dict[str, str]

    def notes(self) -> dict[str, set[tuple[str, str | None]]]:
        """DAG id -> its tasks, each with the identity of the process that ran it."""
        found: dict[str, set[tuple[str, str | None]]] = {}
        for line in self.notes_file.read_text().splitlines():
            note = json.loads(line)
            found.setdefault(note["dag_id"], set()).add((note["task_id"], note["identity"]))
        return found

    def places(self, dag_id: str) -> set[tuple[Any, ...]]:
        """State, queue, pool and executor of each of a DAG's task instances, as the database has them."""
        rows = self.airflow.sql(
            "SELECT state, queue, pool, executor FROM task_instance WHERE dag_id = ?", (dag_id,)
        )
        return set(rows)

    def callbacks(self, dag_id: str) -> list[tuple[Any, ...]]:
        """State and output of the callbacks of a DAG's deadlines that were missed."""
        query = "SELECT state, output FROM callback WHERE data LIKE ? AND state != 'scheduled'"
        return list(self.airflow.sql(query, (f"%{dag_id}%",)))

    def serialized(self, dag_id: str) -> str:
        """What the DAG processor gave to the scheduler."""
        rows = self.airflow.sql("SELECT data FROM serialized_dag WHERE dag_id = ?", (dag_id,))
        return str(rows[0][0])

    def events(self, dag_id: str) -> list[dict[str, Any]]:
        """The access log's events about a DAG's XComs."""
        lines = (self.airflow.folder / "access-log.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        return [event for event in events if (event.get("producer") or {}).get("dag_id") == dag_id]


def _policy(folder: Path) -> dict[str, Any]:
    def compartment(name: str, **more: Any) -> dict[str, Any]:
        place = {"key_uris": [f"local://{folder}/{name}.json"], "store_uri": f"file://{folder}/store-{name}"}
        return {"name": name, "dags": [f"{name}_*"], **place, **more}

    return {
        "version": 1,
        "compartments": [
            compartment(
                "finance",
                bundles=["finance-dags"],
                teams=["finance"],
                hide_return_values=False,
                tasks_run_on={"queue": "finance", "pool": "finance_pool", "executor": "finance"},
            ),
            compartment("marketing"),
        ],
        "identities": [{"name": "caretaker", "runs_on": {"queue": "caretaker"}}],
    }


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[House]:
    """Everything started, and one run of each DAG that Airflow has."""
    folder = tmp_path_factory.mktemp("placement")
    home = folder / "airflow"
    home.mkdir()
    for name in ("finance", "marketing"):
        create_keyring(str(home / f"{name}.json"))
        (home / f"store-{name}").mkdir(mode=0o700)
    policy = home / "access_policy.yaml"
    policy.write_text(yaml.safe_dump(_policy(home)))
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    dags = folder / "dags"
    shutil.copytree(DAGS, dags)
    bundles = [
        {"name": f"{name}-dags", "classpath": local, "kwargs": {"path": str(dags / name)}, "team_name": team}
        for name, team in (("finance", "finance"), ("marketing", None))
    ]
    settings = {
        "core.xcom_backend": "secure_xcom.SecureXComBackend",
        "core.executor": "LocalExecutor,finance:tests.e2e.finance_executor.FinanceExecutor",
        "core.multi_team": "True",
        "core.parallelism": "2",
        "dag_processor.dag_bundle_config_list": json.dumps(bundles),
        "dag_processor.min_file_process_interval": "5",
        "scheduler.scheduler_idle_sleep_time": "0.2",
        "triggerer.queues_enabled": "True",
        "secure_xcom.access_policy": str(policy),
        "secure_xcom.audit_sinks": f"file://{home}/access-log.jsonl",
    }
    notes = folder / "notes.jsonl"
    notes.touch()
    environment = {"SECURE_XCOM_E2E_NOTES": str(notes)}
    with LocalAirflow(home, settings, dags, environment=environment, triggerer=TRIGGERER) as airflow:
        shutil.copy(migrated, airflow.database)
        for command in (("teams", "create", "finance"), ("pools", "set", "finance_pool", "4", "finance's")):
            done = airflow.airflow(*command)
            assert done.returncode == 0, done.stdout
        airflow.start()
        _wait_for_files(airflow)
        runs = {dag_id: airflow.trigger(dag_id) for dag_id in (*HOSTILE, *RUNNING)}
        states = {dag_id: airflow.wait(dag_id, runs[dag_id], timeout=400) for dag_id in RUNNING}
        yield House(airflow, policy, dags, notes, states)


def _wait_for_files(airflow: LocalAirflow) -> None:
    """Until each file has given its DAGs or its import error. Triggering complains of any import error."""
    end = time.monotonic() + 240
    while True:
        found = {dag_id for (dag_id,) in airflow.sql("SELECT dag_id FROM dag")}
        errors = airflow.sql("SELECT filename FROM import_error")
        if found >= KNOWN and len(errors) == 2:
            return
        assert time.monotonic() < end, (found, errors, airflow.component_output("dag-processor")[-3000:])
        time.sleep(0.3)


def _logs(house: House, dag_id: str) -> str:
    return "\n".join(path.read_text() for path in house.airflow.logs.rglob(f"dag_id={dag_id}/**/*.log"))


def test_every_task_runs_with_its_compartments_identity(house: House) -> None:
    """Each kind of task, deferred and retried ones too, ran in its compartment's workers; XComs came through."""
    assert house.states["finance_good"] == "success", _logs(house, "finance_good")
    assert house.places("finance_good") == {("success", "finance", "finance_pool", "finance")}
    names = ("prepare", "wait", "before it defers", "after it deferred", "produce", "double", "gather")
    assert house.notes()["finance_good"] == {(name, "finance") for name in names}


def test_other_tasks_do_not(house: House) -> None:
    """A DAG of a compartment without a place runs where Airflow runs it, without the identity."""
    assert house.states["marketing_plain"] == "success"
    assert house.places("marketing_plain") == {("success", "default", "default_pool", None)}
    assert house.notes()["marketing_plain"] == {("runs", None)}


def test_a_compartment_says_whether_its_operators_log_what_they_return(house: House) -> None:
    """Where the compartment says so, a returned value is in the task's log; elsewhere it is not."""
    logs = {dag_id: _logs(house, dag_id) for dag_id in ("finance_good", "marketing_plain")}
    assert "Returned value was: [1, 2]" in logs["finance_good"]
    assert "Done" in logs["marketing_plain"]
    assert "Returned value was" not in logs["marketing_plain"]


def test_the_access_log_says_the_bundle_and_the_team(house: House) -> None:
    """Pushes and pulls were held against what the scheduler and the API server said of the DAG."""
    events = house.events("finance_good")
    assert {event["outcome"] for event in events} == {"ok"}
    assert {event["action"] for event in events} >= {"push", "pull"}
    tasks = [event["task"] if "task" in event else event["consumer"] for event in events]
    assert {(task["bundle"], task["team"]) for task in tasks} == {("finance-dags", "finance")}


@pytest.mark.parametrize(
    ("file", "dag_id", "said"),
    [
        ("asks.py", "marketing_asks", "queue 'finance', which is that of compartment 'finance'"),
        ("named.py", "finance_named", "from bundle 'finance-dags' only, and it comes from 'marketing-dags'"),
    ],
)
def test_a_refused_dag_is_an_import_error(house: House, file: str, dag_id: str, said: str) -> None:
    """The DAG processor keeps an import error that says what to do, and the DAG is not there."""
    errors = dict(house.airflow.sql("SELECT filename, stacktrace FROM import_error"))
    assert said in errors[file]
    assert f"DAG {dag_id}" in errors[file]
    assert "What to do" in errors[file]
    assert house.airflow.sql("SELECT dag_id FROM dag WHERE dag_id = ?", (dag_id,)) == []


def test_a_file_that_undoes_the_policy_is_sent_back(house: House) -> None:
    """The serialized DAG names another queue, and the scheduler sent its task to its compartment all the same."""
    assert "elsewhere" in house.serialized("finance_sly")
    assert house.states["finance_sly"] == "success"
    assert house.places("finance_sly") == {("success", "finance", "finance_pool", "finance")}
    assert house.notes()["finance_sly"] == {("runs", "finance")}


@pytest.mark.parametrize("dag_id", HOSTILE)
def test_a_file_that_reaches_for_another_identity_does_not_run(house: House, dag_id: str) -> None:
    """A task that asks for another compartment's place, or bears its name from another bundle, is held by name."""
    assert {(state, pool) for state, _, pool, _ in house.places(dag_id)} == {("scheduled", HELD)}
    assert dag_id not in house.notes()
    said = house.airflow.component_output("scheduler") + house.airflow.component_output("api-server")
    assert f"secure_xcom: {dag_id}: " in said
    assert f"non-existent pool '{HELD}' will not be scheduled" in said


def test_a_deadlines_callback_does_not_reach_another_identity(house: House) -> None:
    """No hook of Airflow's tells of it: it is refused when the scheduler is about to send it to the executor."""
    _until(lambda: house.callbacks("marketing_late") != [], house)
    ((state, why),) = house.callbacks("marketing_late")
    assert state == "failed"
    assert "executor 'FinanceExecutor', which is that of compartment 'finance'" in why
    assert house.notes()["marketing_late"] == {("runs", None)}


def test_a_bundle_that_takes_over_a_running_dag_gets_nothing(house: House) -> None:
    """While a run waits, another bundle's file takes the DAG over: what comes next is held until it is cleared."""
    house.airflow.trigger("finance_long", run_id="long")
    _until(lambda: ("running", "finance", "finance_pool", "finance") in house.places("finance_long"), house)
    thief = house.dags / "marketing" / "takes_over.py"
    thief.write_text(THIEF)
    _until(lambda: any(pool == HELD for _, _, pool, _ in house.places("finance_long")), house)
    house.notes_file.with_name("go").touch()
    _until(
        lambda: ("scheduled", HELD) in {(state, pool) for state, _, pool, _ in house.places("finance_long")}, house
    )
    thief.unlink()
    # The rightful file's turn comes again.
    _until(lambda: house.airflow.sql(BUNDLE_OF_LONG) == [("finance-dags",)], house)
    time.sleep(5)
    assert house.notes()["finance_long"] == {("first", "finance")}
    body = {"dry_run": False, "dag_run_id": "long", "task_ids": ["second"], "only_failed": False}
    house.airflow.api("POST", "/api/v2/dags/finance_long/clearTaskInstances", body)
    assert house.airflow.wait("finance_long", "long") == "success"
    assert house.notes()["finance_long"] == {("first", "finance"), ("second", "finance")}


def _until(holds: Callable[[], bool], house: House) -> None:
    end = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < end, house.airflow.sql(
            "SELECT dag_id, task_id, state, queue, pool FROM task_instance"
        )
        time.sleep(0.3)


def test_a_changed_file_is_seen_by_running_components(house: House) -> None:
    """After the policy gives the queue away, a cleared task runs: no component was started again."""
    changed = yaml.safe_load(house.policy.read_text())
    changed["compartments"][0]["tasks_run_on"]["queue"] = "finance-2"
    changed["open_places"] = {"queue": ["finance"]}
    house.policy.write_text(yaml.safe_dump(changed))
    body = {"dry_run": False, "only_failed": False, "reset_dag_runs": True}
    house.airflow.api("POST", "/api/v2/dags/marketing_steals_queue/clearTaskInstances", body)
    _until(lambda: house.places("marketing_steals_queue") == {("success", "finance", "default_pool", None)}, house)
    assert house.notes()["marketing_steals_queue"] == {("runs", None)}

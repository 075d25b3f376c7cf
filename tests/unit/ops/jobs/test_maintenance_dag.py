"""The maintenance DAG as it is parsed, and its steps outside of a scheduler."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.connections.sql import url_of_connection
from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.operator_errors import UnsafeRefused
from secure_xcom.core.service_errors import AlarmNotTold, ConnectionUnknown
from secure_xcom.ops.jobs.job_registry import STEPS
from secure_xcom.ops.jobs.maintenance_dag import counts, maintenance_dag, run_step
from tests.support import alarm_callbacks
from tests.support.access_logs import chain, write
from tests.support.airflow_here import airflow_here
from tests.support.upkeep_world import Upkeep, settle
from tests.support.world import coordinate

__all__ = ["airflow_here"]
pytestmark = pytest.mark.usefixtures("airflow_here")
SHIPPED = Path(__file__).parents[4] / "deploy" / "dags" / "secure_xcom_maintenance.py"
OPTIONS = {
    "delete": True,
    "rewrap": True,
    "older_than": "24h",
    "max_share": 0.5,
    "rate": 0,
    "payloads": True,
}


def step(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Run a step as the DAG does."""
    return run_step(name, params, operator="the DAG")


def test_the_shipped_file_is_a_dag_that_airflow_finds() -> None:
    """The file has what Airflow looks for in a file, and its DAG has every step, in order, as a dry run."""
    text = SHIPPED.read_text().lower()
    assert "airflow" in text
    assert "dag" in text
    spec = importlib.util.spec_from_file_location("shipped", SHIPPED)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dag = module.dag
    assert [task for task in dag.task_ids if task in STEPS] == list(STEPS)
    assert set(dag.task_ids) - set(STEPS) == {"summary", "watcher"}
    assert dag.params["delete"] is False
    assert dag.params["rewrap"] is False


def test_every_param_has_a_form() -> None:
    """Each Param has a title, a description and a type, which the form of a manual run shows."""
    dag = maintenance_dag("another", schedule=None, delete=True, task_options={"queue": "caretaker"})
    for name in dag.params:
        schema = dag.params.get_param(name).schema
        assert schema["title"], name
        assert dag.params.get_param(name).description, name
        assert schema["type"], name
    assert dag.params["delete"] is True
    assert maintenance_dag("alarms", steps=["audit_alarms"]).params["steps"] == ["audit_alarms"]
    assert {task.queue for task in dag.tasks} == {"caretaker"}


@pytest.fixture
def upkeep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upkeep:
    """A deployment that Airflow's settings in the environment describe."""
    made = Upkeep(tmp_path / "one")
    monkeypatch.setenv("SECURE_XCOM_DB", made.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__ACCESS_POLICY", str(made.policy_file))
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__AUDIT_SINKS", f"file://{tmp_path}/log.jsonl")
    return made


def test_every_step_runs_with_airflows_settings(upkeep: Upkeep) -> None:
    """Each step gives a report whose numbers, and nothing else, may stand in an asset event."""
    upkeep.push({"password": "canary"})
    settle()
    for name in STEPS:
        report = step(name, OPTIONS)
        numbers = counts(report)
        assert "found" in numbers, name
        assert all(isinstance(value, int) for value in numbers.values())
    assert len(upkeep.objects()) == 1
    upkeep.close()


ALARMS = """
alarms:
  - {name: refused, when: refusals, over: 1, within: 1h,
     notify: [{callback: "tests.support.alarm_callbacks:told"}]}
  - {name: gap, when: reconcile_gap, notify: [{callback: "tests.support.alarm_callbacks:told"}]}
"""


def test_alarms_are_told_once(upkeep: Upkeep, tmp_path: Path) -> None:
    """What is new in the access log is held against the policy's alarms, and the next run tells nothing again."""
    assert step("audit_alarms", OPTIONS) == {"alarms": "none is set", "found": False}
    upkeep.policy_file.write_text(upkeep.policy_file.read_text() + ALARMS)
    alarm_callbacks.TOLD.clear()
    assert step("audit_alarms", OPTIONS)["raised"] == 0
    lines = chain(1, 3, start=datetime.now(timezone.utc), outcome="refused", error="AccessRefused", ended=False)
    write(tmp_path / "log.jsonl", lines)
    report = step("audit_alarms", OPTIONS)
    assert (report["raised"], report["found"]) == (1, True)
    assert (
        [one["alarm"] for one in alarm_callbacks.TOLD] == ["refused"] == [one["alarm"] for one in report["alarms"]]
    )
    assert step("audit_alarms", OPTIONS)["raised"] == 0
    upkeep.close()


def test_an_alarm_that_cannot_be_told_fails_its_step(upkeep: Upkeep, tmp_path: Path) -> None:
    """The step ends with the error, which names the callback, after all alarms were tried."""
    upkeep.policy_file.write_text(upkeep.policy_file.read_text() + ALARMS.replace(":told", ":nothing_there"))
    lines = chain(1, 3, start=datetime.now(timezone.utc), outcome="refused", error="AccessRefused", ended=False)
    write(tmp_path / "log.jsonl", lines)
    with pytest.raises(AlarmNotTold, match="nothing_there"):
        step("audit_alarms", OPTIONS)
    upkeep.close()


def test_doctors_report_names_what_is_found(upkeep: Upkeep) -> None:
    """A plaintext row is in doctor's report with its remedy, without its value."""
    upkeep.table.put(coordinate(), "canary")
    report = step("doctor", {**OPTIONS, "payloads": False})
    assert report["found"] is True
    assert "plaintext-row" in [finding["kind"] for finding in report["findings"]]
    assert report["ailments"] == report["findings"]
    assert "canary" not in str(report)
    upkeep.close()


def test_the_window_has_a_least(upkeep: Upkeep) -> None:
    """A Param that would let gc delete what is being pushed is refused."""
    with pytest.raises(UnsafeRefused):
        step("gc", {**OPTIONS, "older_than": "1h"})
    upkeep.close()


def test_the_database_may_be_an_airflow_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of type postgres, mysql or sqlite becomes a URL with its password, special letters included."""
    monkeypatch.setenv("AIRFLOW_CONN_META", "postgres://me:a%40b%2Fc@db.example:5433/airflow")
    assert url_of_connection("meta") == "postgresql+psycopg2://me:a%40b%2Fc@db.example:5433/airflow"
    monkeypatch.setenv("AIRFLOW_CONN_META", '{"conn_type": "sqlite", "host": "/tmp/airflow.db"}')
    assert url_of_connection("meta") == "sqlite:////tmp/airflow.db"


def test_a_connection_that_is_no_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of another type, or one that is not there, is an error of ours that names it."""
    monkeypatch.setenv("AIRFLOW_CONN_META", "http://me:canary@db.example")
    with pytest.raises(UriInvalid, match="http") as caught:
        url_of_connection("meta")
    assert "canary" not in str(caught.value)
    with pytest.raises(ConnectionUnknown, match="meta_nobody_has"):
        url_of_connection("meta_nobody_has")


@pytest.mark.parametrize("name", ["audit_seal", "audit_anchor", "audit_alarms", "audit_reconcile"])
def test_an_audit_step_without_a_readable_sink_is_refused(
    name: str, upkeep: Upkeep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that could read no event fails as its command does, instead of reporting success."""
    upkeep.policy_file.write_text(upkeep.policy_file.read_text() + ALARMS)
    (tmp_path / "sealed").mkdir()
    key = f"file://{tmp_path}/sealing.pem"
    done = CliRunner().invoke(app, ["audit", "key", "--create", "--key", key])
    assert done.exit_code == 0, done.output
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__AUDIT_SINKS", "log://secure_xcom.access")
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__SEALED_LOG", f"file://{tmp_path}/sealed")
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__SEALING_KEY", key)
    with pytest.raises(UriInvalid, match="log"):
        step(name, {**OPTIONS, "cloudtrail": str(tmp_path)})
    upkeep.close()


def test_commands_and_steps_run_the_same_jobs() -> None:
    """A job's Params are its command's options, with the same defaults: each is declared once."""
    dag = maintenance_dag(schedule=None)
    for job in STEPS.values():
        for default, declared in job.declared_params():
            assert dag.params[declared.name] == default
    commands = typer.main.get_group(app).commands
    for name in ("gc", "expire", "rewrap", "doctor"):
        command = commands[name]
        assert str(command.help).startswith(STEPS[name].summary)
        options = {parameter.name for parameter in command.params}
        assert {each for each, declared in STEPS[name].declared_options().items() if declared.help} <= options

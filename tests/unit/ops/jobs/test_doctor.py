"""What is ill in a deployment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.config import Settings
from secure_xcom.ops.checks.doctor_host import examine_settings
from secure_xcom.ops.checks.doctor_rights import examine_rights
from secure_xcom.ops.checks.doctor_teams import examine_teams
from secure_xcom.ops.jobs.doctor_rows import examine_payloads, examine_rows
from secure_xcom.ops.keyring import rotate_keyring
from tests.support.upkeep_world import Upkeep, long_ago, unique_of
from tests.support.world import coordinate


@pytest.fixture(params=Schema)
def upkeep(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Upkeep]:
    """A deployment, on each schema of Airflow's tables."""
    made = Upkeep(tmp_path / "one", schema=request.param)
    yield made
    made.close()


def rows(upkeep: Upkeep, policy: AccessPolicy | None = None) -> dict[str, int]:
    """Return the rules that the rows violate, and how often."""
    database = upkeep.table.database()
    findings = examine_rows(policy or upkeep.policy, database).findings
    database.close()
    return {finding.rule: finding.count for finding in findings}


def test_a_healthy_deployment_has_nothing(upkeep: Upkeep) -> None:
    """Rows as tasks push them are no finding."""
    for n in range(3):
        upkeep.push({"n": n})
    assert rows(upkeep) == {}


@pytest.mark.parametrize("value", [{"password": "canary"}, "text", 5, True, [1], "x" * 200_000])
def test_plaintext_rows(upkeep: Upkeep, value: Any) -> None:
    """Any value without a reference is found, by its coordinate and never by what it holds."""
    upkeep.table.put(coordinate(), value)
    database = upkeep.table.database()
    (found,) = examine_rows(upkeep.policy, database).findings
    database.close()
    assert (found.rule, found.count, found.examples) == ("plaintext-row", 1, (str(coordinate()),))
    assert "canary" not in repr(found)


def test_references_that_cannot_be_opened(upkeep: Upkeep) -> None:
    """Each reason has a kind of its own: malformed, another version, moved, another compartment, key, store."""
    good = upkeep.push(1)
    value = upkeep.table.value(good)

    def put(key: str, change: Mapping[str, Any], head: Mapping[str, Any] | None = None) -> None:
        own = {**value["head"], "key": key, **(head or {})}
        upkeep.table.put(coordinate(key=key), {**value, "head": own, **change})

    put("malformed", {"unknown": 1})
    put("version", {"secure_xcom": 2})
    put("moved", {}, {"key": "elsewhere"})
    put("compartment", {}, {"compartment": "nobody"})
    put("key", {"keys": [{"uri": "local:///other.json", "wrapped": value["keys"][0]["wrapped"]}]})
    put("store", {}, {"object": "s3://elsewhere/x"})
    assert rows(upkeep) == {
        "reference-ReferenceMalformed": 1,
        "reference-ReferenceVersionUnknown": 1,
        "reference-CoordinateMismatch": 1,
        "reference-CompartmentUnknown": 1,
        "reference-ContextRefused": 2,
    }


def test_stale_versions_expired_rows_archives_and_logged_bodies(upkeep: Upkeep) -> None:
    """Old key versions, rows long expired, archive tables and bodies in the action log are found."""
    upkeep.write_policy("    retention: 1h\n")
    at = upkeep.push(1)
    value = upkeep.table.value(at)
    value["head"]["expires"] = "2020-01-01T00:00:00Z"
    upkeep.table.put(at, value)
    rotate_keyring(upkeep.keyring)
    upkeep.push(2)
    upkeep.table.execute("CREATE TABLE _airflow_deleted__xcom__20260101 (value TEXT)")
    # What the upgrade from Airflow 2 put aside.
    upkeep.table.execute("CREATE TABLE _xcom_archive (value BLOB)")
    upkeep.table.execute(
        "INSERT INTO log (dttm, event, extra) "
        "VALUES (0, 'create_xcom_entry', :body), (0, 'create_xcom_entry', :masked), (0, 'trigger_dag_run', :body)",
        # As Airflow writes them up to 3.3, and from 3.4 on.
        [
            {
                name: json.dumps({"key": "k", "value": value})
                for name, value in (("body", "canary"), ("masked", "***"))
            }
        ],
    )
    assert rows(upkeep) == {"stale-wrap": 1, "expired-row": 1, "archive-table": 0, "action-log-body": 1}
    findings = examine_rows(upkeep.policy, upkeep.table.database()).findings
    archives = [finding.subject for finding in findings if finding.rule == "archive-table"]
    assert archives == ["table _airflow_deleted__xcom__20260101", "table _xcom_archive"]


def test_missing_and_orphaned_payloads(upkeep: Upkeep) -> None:
    """Both sides of gc are findings, and nothing is deleted."""
    from tests.support.doubles import MemoryStore

    at = upkeep.push(1)
    value = upkeep.table.value(at)
    folder, _, _ = value["head"]["object"].rpartition("/")
    value["head"]["object"] = f"{folder}/{unique_of(long_ago(days=3))}"
    upkeep.table.put(at, value)
    double = MemoryStore(upkeep.store_uri)
    orphan = f"pay/orders/run/extract/-1/{unique_of(long_ago(days=3))}"
    double.put(orphan, [b"x"])
    double.written[orphan] = long_ago(days=3)
    database = upkeep.table.database()
    findings = examine_payloads(upkeep.policy, database, upkeep.state, stores=lambda _: double)
    database.close()
    assert [(one.rule, one.count) for one in findings] == [("payload-missing", 1), ("payload-orphaned", 1)]
    assert orphan in double.objects


def test_a_store_that_is_down_hides_no_other_finding(upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where payloads cannot be listed that is one finding, with its remedy, and the others are told as well."""
    upkeep.table.put(coordinate(), "plain")
    (upkeep.folder / "store").rmdir()
    monkeypatch.setenv("SECURE_XCOM_DB", upkeep.table.url)
    config = upkeep.folder / "airflow.cfg"
    config.write_text(f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\n")
    done = CliRunner().invoke(app, ["doctor", "--json", "--state", str(upkeep.state), "--config", str(config)])
    found = {one["kind"]: one for one in json.loads(done.stdout)["found"]}
    assert done.exit_code == 1
    assert {"plaintext-row", "payloads-not-known"} <= set(found)
    assert found["payloads-not-known"]["remedy"]


def test_settings_that_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting by which values leave is named with what to write instead."""
    for name, value in {
        "CORE__HIDE_SENSITIVE_VAR_CONN_FIELDS": "False",
        "CORE__NUM_DAG_RUNS_TO_RETAIN_RENDERED_FIELDS": "300",
        "CORE__FERNET_KEY": "",
        "API__EXPOSE_CONFIG": "True",
        "API__EXPOSE_STACKTRACE": "True",
        "API__ACCESS_CONTROL_ALLOW_ORIGINS": "*",
    }.items():
        monkeypatch.setenv(f"AIRFLOW__{name}", value)
    loose = Settings.parse(
        {"on_plaintext": "allow", "hide_return_values": "False", "mask_component_logs": "False"}
    )
    found = list(examine_settings(loose, backend=False))
    assert len(found) == 10
    assert all(one.remedy for one in found)
    text = " ".join(one.text for one in found)
    for name in (
        "hide_sensitive",
        "rendered",
        "fernet",
        "expose_config",
        "expose_stack",
        "origins",
        "on_plaintext",
    ):
        assert name in text


def test_settings_that_do_not() -> None:
    """Airflow's defaults and ours are no finding, but for the empty Fernet key that Airflow has without a file."""
    found = [one.text for one in examine_settings(Settings(), backend=True)]
    assert [text for text in found if "fernet_key" not in text] == []


@pytest.mark.parametrize("results", ["", "db+postgresql+psycopg://airflow@postgres/airflow"])
def test_settings_of_celery_that_give_away_another_identity(monkeypatch: pytest.MonkeyPatch, results: str) -> None:
    """Results that are pickles and orders from other workers are findings, with Celery alone."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor,CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__CELERY__RESULT_BACKEND", results)
    found = [one for one in examine_settings(Settings(), backend=True) if "[celery]" in one.text]
    assert [one.text.split()[1] for one in found] == ["result_backend", "worker_enable_remote_control"]
    assert all("docs/how-to/separate-queues.md" in one.remedy for one in found)
    monkeypatch.setenv("AIRFLOW__CELERY__RESULT_BACKEND", "redis://worker@redis:6379/0")
    monkeypatch.setenv("AIRFLOW__CELERY__WORKER_ENABLE_REMOTE_CONTROL", "False")
    assert not [one for one in examine_settings(Settings(), backend=True) if "[celery]" in one.text]
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    monkeypatch.setenv("AIRFLOW__CELERY__RESULT_BACKEND", results)
    assert not [one for one in examine_settings(Settings(), backend=True) if "[celery]" in one.text]


@pytest.mark.parametrize(
    ("executor", "count"),
    [("LocalExecutor,airflow.providers.edge3.executors.EdgeExecutor", 1), ("LocalExecutor", 0)],
)
def test_workers_that_name_their_own_queues(monkeypatch: pytest.MonkeyPatch, executor: str, count: int) -> None:
    """An edge worker takes any queue's jobs, with a key that every edge worker has."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    found = [one for one in examine_settings(Settings(), backend=True) if "EdgeExecutor" in one.text]
    assert [one.status for one in found] == ["warning"] * count


@pytest.mark.parametrize(("compartments", "multi_team", "count"), [(1, False, 0), (2, False, 1), (3, True, 2)])
def test_rows_that_are_anybodys(compartments: int, multi_team: bool, count: int) -> None:
    """With two compartments, doctor says that tasks may write each other's rows, unless teams keep them apart."""
    entries = "".join(
        f"  - {{name: c{n}, dags: ['c{n}_*'], key_uris: ['memory-key://{n}'], store_uri: 'memory://{n}'}}\n"
        for n in range(compartments)
    )
    text = f"version: 1\ncompartments:\n{entries}"
    policy = AccessPolicy.parse(text.encode(), where="policy.yaml")
    found = list(examine_teams(policy, multi_team=multi_team))
    assert sum(one.count for one in found) == count
    assert all((one.rule, one.status) == ("rows-of-all", "warning") and one.remedy for one in found)


def test_rights_are_not_looked_for_where_there_are_none(upkeep: Upkeep) -> None:
    """A file store and a keyring have no identities."""
    assert list(examine_rights(upkeep.policy, "maintenance")) == []


def test_the_command_finds_and_repairs(upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open files are found, --fix closes them, and what it does not repair keeps the exit code at 1."""
    log = upkeep.folder / "log.jsonl"
    log.write_text("")
    config = upkeep.folder / "airflow.cfg"
    config.write_text(
        "[core]\nxcom_backend = secure_xcom.SecureXComBackend\n"
        f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\naudit_sinks = file://{log}\n"
    )
    monkeypatch.setenv("SECURE_XCOM_DB", upkeep.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(upkeep.folder / "home"))
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "any")
    os.chmod(upkeep.keyring, 0o644)
    os.chmod(log, 0o644)
    os.chmod(upkeep.folder / "store", 0o711)  # noqa: S103  # that it is open to others is the test
    upkeep.table.put(coordinate(), "plain")

    def run(*words: str) -> tuple[int, list[str], list[bool]]:
        done = CliRunner().invoke(app, ["doctor", "--json", "--config", str(config), *words])
        found = json.loads(done.stdout)["found"]
        return done.exit_code, sorted(one["kind"] for one in found), [one["fixed"] for one in found]

    every = ["access-log-exposed", "keyring-exposed", "plaintext-row", "store-exposed"]
    assert run() == (1, every, [False] * 4)
    code, kinds, fixed = run("--fix")
    assert (code, kinds, sum(fixed)) == (1, every, 3)
    assert run() == (1, ["plaintext-row"], [False])
    assert os.stat(upkeep.keyring).st_mode & 0o777 == 0o600
    upkeep.table.delete(coordinate())
    done = CliRunner().invoke(app, ["doctor", "--config", str(config)])
    assert (done.exit_code, done.stdout) == (0, "0 rows: nothing found\n")


def test_every_lost_payload_is_named_where_asked_for(upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 25 rows whose payloads are lost 20 are named, and with a higher number all."""
    config = upkeep.folder / "airflow.cfg"
    config.write_text(f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\n")
    monkeypatch.setenv("SECURE_XCOM_DB", upkeep.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(upkeep.folder / "home"))
    lost = {str(upkeep.push(n, coordinate(map_index=n))) for n in range(25)}
    upkeep.store().delete_many(upkeep.objects())

    def named(*words: str) -> list[str]:
        done = CliRunner().invoke(app, ["doctor", "--json", "--config", str(config), *words])
        [found] = [one for one in json.loads(done.stdout)["found"] if one["kind"] == "payload-missing"]
        assert found["count"] == 25
        return list(found["examples"])

    assert len(named()) == 20
    assert set(named("--examples", "100")) == lost

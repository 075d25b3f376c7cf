"""Connections that every team's tasks may look up: found by check, doctor and lint, with what to do about it."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.cli.init import steps_for_logins
from secure_xcom.connections.connection_ids import connection_id
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.config import Settings
from secure_xcom.core.findings import Finding
from secure_xcom.ops.checks.stored_connections import examine_connections, used_by
from secure_xcom.ops.service_policies.lint import connections
from secure_xcom.ops.service_policies.lint.access_policy import lint
from secure_xcom.ops.xcom_table import Database
from tests.support.xcom_table import XComTable

POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["vault://vault_xcom/transit/keys/finance"]
    store_uri: s3://s3_xcom@xcom/sealed
    routes: [{sensitive: true, store_uri: vault-kv://kv_login/secret/xcom}]
  - name: sales
    dags: ["sales_*"]
    key_uris: ["vault://default/transit/keys/sales", "aws-kms://aws_xcom/alias/sales?wrap=optional"]
    store_uri: s3://xcom/sealed
alarms:
  - name: claims
    when: second_claim
    notify: [{connection: pager}]
"""
LOADED = AccessPolicy.parse(POLICY.encode(), where="policy.yaml")
ONE = AccessPolicy.single(["vault://vault_xcom/transit/keys/x"], "s3://s3_xcom@xcom/sealed")
SINKS = ("db://log_table", "s3://log_bucket@log/events", "file:///srv/log.jsonl")
CANARY = "canary-secret-id"
SERVER = "AIRFLOW__API_AUTH__JWT_SECRET"


@pytest.fixture(autouse=True)
def no_airflow_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has no connection and no secrets backend but a test's."""
    for name in ("VAULT_XCOM", "S3_XCOM", "KV_LOGIN", "AWS_XCOM"):
        monkeypatch.delenv(f"AIRFLOW_CONN_{name}", raising=False)
    for name in (SERVER, "AIRFLOW__SECRETS__BACKEND", "AIRFLOW__WORKERS__SECRETS_BACKEND", "SECURE_XCOM_DB"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Airflow's tables, as far as they matter here, with a connection that is none of ours."""
    table = XComTable(f"sqlite:///{tmp_path}/airflow.db")
    table.execute("CREATE TABLE connection (conn_id VARCHAR(250), password TEXT, extra TEXT)")
    store_one(table.url, "somebodys", "other")
    table.close()
    return f"sqlite:///{tmp_path}/airflow.db"


def store_one(url: str, conn_id: str, password: str | None = None, extra: str | None = None) -> None:
    """What `airflow connections add` leaves; what is secret is sealed with the Fernet key there."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        query = sqlalchemy.text("INSERT INTO connection VALUES (:conn_id, :password, :extra)")
        connection.execute(query, {"conn_id": conn_id, "password": password, "extra": extra})
    engine.dispose()


def found(policy: AccessPolicy, url: str | None = None) -> list[Finding]:
    """What is found, in a database or where none is known."""
    uses = used_by(
        policy, Settings.parse({"key_uris": "vault://default/t/keys/k", "store_uri": "s3://b/x"}), SINKS
    )
    if url is None:
        return list(examine_connections(policy, uses))
    database = Database(url)
    try:
        return list(examine_connections(policy, uses, database))
    finally:
        database.close()


def serious(findings: list[Finding]) -> dict[str, str]:
    """Those that are not ok, by subject."""
    return {one.subject: one.status for one in findings if one.status != "ok"}


@pytest.mark.parametrize(
    ("uri", "conn_id"),
    [
        ("vault://vault_xcom/transit/keys/k?grant=scoped", "vault_xcom"),
        ("vault://default/transit/keys/k", None),
        ("vault-kv://kv_login/secret/xcom", "kv_login"),
        ("aws-kms://aws_xcom/arn:aws:kms:eu-west-1:111122223333:alias/x", "aws_xcom"),
        ("aws-kms://default/alias/x", None),
        ("local:///keys.json", None),
        ("s3://s3_xcom@bucket/prefix?region=eu-west-1", "s3_xcom"),
        ("gs://a%2Eb@bucket", "a.b"),
        # For buckets `default` is a connection like any other.
        ("abfs://default@container/x", "default"),
        ("s3://bucket/a@b", None),
        ("file:///srv/xcom", None),
        ("db://claims", "claims"),
        ("db+postgresql://user:secret@host/name", None),
    ],
)
def test_each_uri_tells_its_connection(uri: str, conn_id: str | None) -> None:
    """Where a scheme has its connection id, and where it has none."""
    assert connection_id(uri) == conn_id


def test_every_connection_of_a_deployment_is_looked_for() -> None:
    """Those of keys, stores, routes, sinks, claims and alarms, each with what it is for."""
    settings = Settings.parse({"access_policy": "/p.yaml", "claims_uri": "db://claims_table"})
    uses = used_by(LOADED, settings, SINKS)
    assert uses == {
        "vault_xcom": ["the keys of finance"],
        "s3_xcom": ["the store of finance"],
        "kv_login": ["the store of finance"],
        "aws_xcom": ["the keys of sales"],
        "log_table": ["the access log"],
        "log_bucket": ["the access log"],
        "claims_table": ["claims"],
        "pager": ["alarms"],
    }


@pytest.mark.parametrize(
    "conn_id", ["vault_xcom", "s3_xcom", "kv_login", "aws_xcom", "log_table", "log_bucket", "pager"]
)
def test_a_login_in_airflows_database_is_an_error(url: str, conn_id: str) -> None:
    """It says where it lies and who reads it, where it belongs, and that it is to be made anew."""
    store_one(url, conn_id, password=CANARY)
    (finding,) = (one for one in found(LOADED, url) if one.status != "ok")
    assert (finding.subject, finding.status) == (f"connection {conn_id}", "error")
    assert "is stored in Airflow's database, where every task of every team reads it" in finding.text
    for part in (
        f"AIRFLOW_CONN_{conn_id.upper()}",
        "mode 0600",
        f"airflow connections delete {conn_id}",
        "revoke",
    ):
        assert part in finding.remedy
    assert CANARY not in repr(finding)


def test_a_login_in_the_extra_counts_too(url: str) -> None:
    """Keys of AWS and tokens may stand there, and what is sealed there cannot be looked into."""
    store_one(url, "aws_xcom", extra='{"aws_secret_access_key": "x"}')
    assert serious(found(LOADED, url)) == {"connection aws_xcom": "error"}


def test_a_connection_without_a_login_is_to_be_known(url: str) -> None:
    """Airflow's own example connections have neither password nor extra."""
    store_one(url, "aws_xcom")
    store_one(url, "vault_xcom", password="", extra="")
    findings = found(LOADED, url)
    assert serious(findings) == {}
    assert sum("no password and no extra" in one.text for one in findings) == 2


def test_with_one_compartment_it_is_a_warning(url: str) -> None:
    """Every task runs as that identity anyway; people with the database or a backup of it do not."""
    store_one(url, "vault_xcom", password=CANARY)
    assert serious(found(ONE, url)) == {"connection vault_xcom": "warning"}


def test_nothing_is_said_of_other_connections(url: str) -> None:
    """What no URI names is none of ours."""
    findings = found(LOADED, url)
    assert [(one.subject, one.status) for one in findings] == [("connections in Airflow's database", "ok")]


def test_a_machine_without_the_database_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has none, and the finding says where to look from."""
    monkeypatch.setenv("SECURE_XCOM_DB", "sqlite:////nowhere/at/all.db")
    (finding,) = found(LOADED)
    assert finding.status == "ok"
    assert "not checked on this machine" in finding.text
    assert "where the scheduler runs" in finding.text


def test_a_database_without_that_table_says_so(tmp_path: Path) -> None:
    """As one in which this user may not read it."""
    XComTable(f"sqlite:///{tmp_path}/a.db").close()
    (finding,) = found(LOADED, f"sqlite:///{tmp_path}/a.db")
    assert (finding.status, "may not read the ids" in finding.text) == ("ok", True)


def test_the_environment_of_an_api_server_is_everybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """What signs tasks' tokens is no worker; a worker's own environment is where logins belong."""
    monkeypatch.setenv("SECURE_XCOM_DB", "sqlite:////nowhere/at/all.db")
    monkeypatch.setenv("AIRFLOW_CONN_VAULT_XCOM", json.dumps({"conn_type": "vault", "password": CANARY}))
    assert serious(found(LOADED)) == {}
    monkeypatch.setenv(SERVER, "x" * 32)
    (finding,) = (one for one in found(LOADED) if one.status != "ok")
    assert (finding.subject, finding.status) == ("connection vault_xcom", "error")
    assert "take it out of this one" in finding.remedy
    assert "revoke" in finding.remedy
    assert CANARY not in repr(finding)
    assert serious(found(ONE)) == {}


@pytest.mark.parametrize("section", ["SECRETS__BACKEND", "WORKERS__SECRETS_BACKEND"])
def test_a_backend_that_workers_share_is_said(section: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Vault that every worker reads with one login is no place for a team's own login."""
    monkeypatch.setenv("SECURE_XCOM_DB", "sqlite:////nowhere/at/all.db")
    monkeypatch.setenv(f"AIRFLOW__{section}", "airflow.providers.hashicorp.secrets.vault.VaultBackend")
    (finding,) = (one for one in found(LOADED) if one.status != "ok")
    assert (finding.status, "VaultBackend" in finding.subject) == ("warning", True)
    assert "a login of its own that reads its own team's path alone" in finding.remedy
    assert serious(found(ONE)) == {}


def test_a_local_file_is_fine_where_nobody_else_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second worker-local place: its mode decides."""
    file = tmp_path / "connections.json"
    file.write_text("{}")
    monkeypatch.setenv("SECURE_XCOM_DB", "sqlite:////nowhere/at/all.db")
    backend = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
    monkeypatch.setenv("AIRFLOW__WORKERS__SECRETS_BACKEND", backend)
    monkeypatch.setenv(
        "AIRFLOW__WORKERS__SECRETS_BACKEND_KWARGS", json.dumps({"connections_file_path": str(file)})
    )
    file.chmod(0o600)
    assert serious(found(LOADED)) == {}
    file.chmod(0o640)
    (finding,) = (one for one in found(LOADED) if one.status != "ok")
    assert finding.status == "warning"
    assert f"chmod 600 {file}" in finding.remedy
    assert "revoke" in finding.remedy


def run(*arguments: str) -> tuple[int, Any]:
    """Run a command with --json."""
    result = CliRunner().invoke(app, [*arguments, "--json"], env={"COLUMNS": "200"})
    return result.exit_code, json.loads(result.stdout)


def test_check_and_doctor_report_it(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both commands, each in its own words, with the same remedy."""
    monkeypatch.setenv("SECURE_XCOM_DB", url)
    store_one(url, "vault_xcom", password=CANARY)
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        POLICY.replace("vault-kv://kv_login/secret/xcom", f"file://{tmp_path}").replace("s3_xcom@", "")
    )
    config = tmp_path / "airflow.cfg"
    config.write_text(f"[secure_xcom]\naccess_policy = {policy}\naudit_sinks = file://{tmp_path}/log.jsonl\n")
    code, printed = run("check", "--config", str(config))
    assert code == 1
    checked = [one for one in printed["findings"] if one["subject"] == "connection vault_xcom"]
    assert [one["status"] for one in checked] == ["error"]
    code, printed = run("doctor", "--no-payloads", "--config", str(config))
    assert code == 1
    ailments = [one for one in printed["found"] if one["kind"] == "shared-login"]
    assert [one["status"] for one in ailments] == ["error"]
    assert ailments[0]["remedy"] == checked[0]["remedy"]
    assert CANARY not in json.dumps(printed)


LINTED = ("server-connection", "shared-backend", "connection-not-seen")


def linted(environment: dict[str, str], text: str = POLICY) -> dict[str, str]:
    """Rule -> status, of what lint says of connections in an environment."""
    beside = partial(connections.findings, environment=environment)
    remarks = lint(text.encode(), where="policy.yaml", beside=(beside,))
    return {one.rule: one.status for one in remarks if one.rule in LINTED}


def test_lint_says_what_it_can_and_cannot_see() -> None:
    """It has the environment alone: what is not there may lie in the database, and it says so."""
    every = {f"AIRFLOW_CONN_{name}": "{}" for name in ("VAULT_XCOM", "S3_XCOM", "KV_LOGIN", "AWS_XCOM")}
    vault = {"AIRFLOW__SECRETS__BACKEND": "airflow.providers.hashicorp.secrets.vault.VaultBackend"}
    local = {"AIRFLOW__WORKERS__SECRETS_BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend"}
    assert linted({}) == {"connection-not-seen": "ok"}
    assert linted(every) == {}
    assert linted(local) == {}
    assert linted(vault) == {"shared-backend": "warning"}
    assert linted({**every, **vault}) == {}
    assert linted({**every, SERVER: "x"}) == {"server-connection": "error"}
    one = POLICY[: POLICY.index("  - name: sales")]
    assert linted({}, one) == {}


def test_the_command_lints_its_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the connections and the line of the first URI that needs one."""
    file = tmp_path / "access_policy.yaml"
    file.write_text(POLICY)
    _, printed = run("policy", "lint", str(file))
    (remark,) = (one for one in printed["remarks"] if one["rule"] in LINTED)
    assert (remark["rule"], remark["status"], remark["line"]) == ("connection-not-seen", "ok", 5)
    assert "(vault_xcom, s3_xcom, kv_login, aws_xcom)" in remark["text"]
    assert "`secure-xcom check` and `doctor` look there" in remark["text"]
    monkeypatch.setenv("AIRFLOW_CONN_VAULT_XCOM", json.dumps({"conn_type": "vault", "password": CANARY}))
    monkeypatch.setenv(SERVER, "x" * 32)
    code, printed = run("policy", "lint", str(file))
    assert code == 1
    assert "server-connection" in [one["rule"] for one in printed["remarks"] if one["status"] == "error"]
    assert CANARY not in json.dumps(printed)


ATTACK = """
import inspect, os, sys
from airflow import settings
from airflow.models import Connection, import_all_models
if sys.argv[1] == "database":
    import_all_models()
    Connection.metadata.create_all(settings.engine)
    session = settings.Session()
    session.add(Connection(conn_id="vault_xcom", conn_type="vault", login="role", password="canary-secret-id"))
    session.commit()
from airflow.api_fastapi.execution_api.routes.connections import get_connection
# The route that answers a task's get_connection. It is not told which DAG or team asks, and looks at neither.
more = {"team_name": None} if "team_name" in inspect.signature(get_connection).parameters else {}
print("read:", get_connection("vault_xcom", **more).password)
"""


@pytest.mark.parametrize("where", ["database", "environment"])
def test_airflow_gives_it_to_whoever_asks(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack, in Airflow's own code: its API server gives the login to any task, and then check finds it."""
    url = f"sqlite:///{tmp_path}/airflow.db"
    environment = {
        "PATH": "/usr/bin:/bin",
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW__CORE__FERNET_KEY": "",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    }
    stored = json.dumps({"conn_type": "vault", "login": "role", "password": CANARY})
    if where == "environment":
        environment["AIRFLOW_CONN_VAULT_XCOM"] = stored
    done = subprocess.run(
        [sys.executable, "-c", ATTACK, where],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert f"read: {CANARY}" in done.stdout, done.stderr[-2000:]
    if where == "environment":
        monkeypatch.setenv("SECURE_XCOM_DB", "sqlite:////nowhere/at/all.db")
        monkeypatch.setenv("AIRFLOW_CONN_VAULT_XCOM", stored)
        monkeypatch.setenv(SERVER, "x" * 32)
        assert serious(found(LOADED)) == {"connection vault_xcom": "error"}
    else:
        assert serious(found(LOADED, url)) == {"connection vault_xcom": "error"}


def test_init_puts_logins_on_workers(tmp_path: Path) -> None:
    """Where a URI names a connection, what to do next says where its login belongs; where none does, nothing."""
    steps = " ".join(steps_for_logins(["vault://vault_xcom/transit/keys/x", "s3://s3_xcom@xcom/sealed"]))
    for part in (
        "AIRFLOW_CONN_VAULT_XCOM, AIRFLOW_CONN_S3_XCOM",
        "mode 0600",
        "Never add it to Airflow's database",
    ):
        assert part in steps
    steps = " ".join(steps_for_logins(["vault://vault_xcom/transit/keys/x"], approle=True))
    assert "connection of its own role" in steps
    assert "Never add it to Airflow's database" in steps
    _, printed = run("init", "--key", f"local://{tmp_path}/keys/k.json", "--store", f"file://{tmp_path}/x")
    assert not any("AIRFLOW_CONN" in step for step in printed["next"])

"""The metadata database on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy

from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.jobs.doctor_rows import examine_rows
from secure_xcom.ops.xcom_table import Database
from tests.support.database_contract import DatabaseContract, refuses_without_telling
from tests.support.maintenance_contract import MaintenanceContract
from tests.support.servers.postgres_server import PostgresServer, postgres_server
from tests.support.servers.vault_server import free_port
from tests.support.world import coordinate
from tests.support.xcom_table import XComTable


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server for this file."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def new_database(postgres: PostgresServer) -> Callable[[], str]:
    """Makes an empty database and returns its URL."""
    return postgres.new_database


class TestPostgres(DatabaseContract):
    """The contract."""


class TestMaintenance(MaintenanceContract):
    """The jobs on its rows."""


def test_a_server_that_is_not_there_is_told_without_its_url() -> None:
    """A refused connection is an error of ours without the password of the URL."""
    refuses_without_telling(f"postgresql+psycopg2://me:canary-in-url@127.0.0.1:{free_port()}/a", "canary-in-url")


def test_a_connection_that_broke_is_made_anew(postgres: PostgresServer, table: XComTable) -> None:
    """After the server was stopped and started again the same object reads on."""
    table.put(coordinate(), 1)
    database = table.database()
    assert database.count() == 1
    postgres.stop()
    postgres.start()
    assert database.count() == 1
    database.close()


def test_logins_are_found_with_a_right_on_their_ids_alone(postgres: PostgresServer, table: XComTable) -> None:
    """A grant on one column is enough to find them, and without any nothing is known."""
    table.execute("CREATE TABLE connection (conn_id TEXT, password TEXT, extra TEXT)")
    table.execute("INSERT INTO connection VALUES ('vault_xcom', 'sealed', ''), ('s3_xcom', NULL, NULL)")
    role = f"looker_{table.schema.name.lower()}"
    table.execute(f"CREATE ROLE {role} LOGIN")
    url = sqlalchemy.make_url(table.url).set(username=role)
    asked = ["vault_xcom", "s3_xcom", "aws_xcom"]
    database = Database(url.render_as_string(hide_password=False))
    assert database.stored_connections(asked) is None
    table.execute(f"GRANT SELECT (conn_id) ON connection TO {role}")
    assert database.stored_connections(asked) == {"vault_xcom": None, "s3_xcom": None}
    table.execute(f"GRANT SELECT ON connection TO {role}")
    assert database.stored_connections(asked) == {"vault_xcom": True, "s3_xcom": False}
    database.close()


def test_doctor_needs_no_more_than_its_documented_rights(postgres: PostgresServer, table: XComTable) -> None:
    """With SELECT on the documented tables rows are looked at, and archive tables named, though not counted."""
    table.put(coordinate(), "a plain value")
    if table.schema is Schema.ATTEMPTS:
        table.retry(coordinate())
    table.execute("CREATE TABLE _airflow_deleted__xcom__20260101 (value TEXT)")
    role, tables = f"caretaker_{table.schema.name.lower()}", "xcom"
    if table.schema is Schema.ATTEMPTS:
        tables = "xcom_v1, xcom_v2, task_instance, dag_run, legacy_task_data_owner, dynamic_region"
    table.execute(f"CREATE ROLE {role} LOGIN")
    table.execute(f"GRANT SELECT ON {tables} TO {role}")
    url = sqlalchemy.make_url(table.url).set(username=role)
    database = Database(url.render_as_string(hide_password=False))
    policy = AccessPolicy.single(("local:///nowhere/keyring.json",), "memory://nowhere")
    rows, findings, _ = examine_rows(policy, database)
    database.close()
    assert rows == 1
    assert [finding.rule for finding in findings] == ["plaintext-row", "archive-table"]

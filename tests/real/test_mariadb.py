"""Claims and the metadata database on a real MariaDB, which speaks MySQL's dialect."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy

from secure_xcom.claims.claim_table import ClaimTable
from secure_xcom.claims.migrate import migrate
from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.claim_errors import ClaimRefused
from secure_xcom.core.service_errors import ClaimsUnavailable
from secure_xcom.ops.jobs.doctor_rows import examine_rows
from secure_xcom.ops.xcom_table import Database
from tests.support.claim_contract import ClaimTableContract, claimant, taken, target
from tests.support.database_contract import DatabaseContract, refuses_without_telling
from tests.support.maintenance_contract import MaintenanceContract
from tests.support.servers.mariadb_server import MariaDbServer, mariadb_server
from tests.support.servers.vault_server import free_port
from tests.support.world import coordinate
from tests.support.xcom_table import XComTable

pytestmark = pytest.mark.on_request


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDbServer]:
    """A server for this file."""
    with mariadb_server() as server:
        yield server


@pytest.fixture
def new_database(mariadb: MariaDbServer) -> Callable[[], str]:
    """Makes an empty database and returns its URL."""
    return mariadb.new_database


class TestDatabase(DatabaseContract):
    """The contract of the metadata database."""


class TestMaintenance(MaintenanceContract):
    """The jobs on its rows."""


class TestClaims(ClaimTableContract):
    THREADS = 10

    @pytest.fixture
    def race(self, mariadb: MariaDbServer) -> tuple[str, str]:
        return "database", f"db+{mariadb.new_database()}"


def user(mariadb: MariaDbServer, url: str, *grants: str) -> str:
    """The URL of a new user with these rights, such as ``SELECT ON xcom``, in a database."""
    parsed, name = sqlalchemy.make_url(url), f"u_{uuid.uuid4().hex[:8]}"
    mariadb.run(f"CREATE USER {name}@'127.0.0.1'")
    for grant in grants:
        right, _, of = grant.rpartition(" ON ")
        mariadb.run(f"GRANT {right} ON {parsed.database}.{of} TO {name}@'127.0.0.1'")
    return parsed.set(username=name).render_as_string(hide_password=False)


def test_a_task_needs_two_rights_in_the_database(mariadb: MariaDbServer) -> None:
    """With SELECT and INSERT alone a task claims, and can neither take a claim away nor drop the table."""
    url = mariadb.new_database()
    migrate(ClaimTable(f"db+{url}"))
    table = ClaimTable(f"db+{user(mariadb, url, 'SELECT, INSERT ON claim_xcom')}")
    at = target("memory://x")
    assert taken(table, at, "a") == table.find_many([at])[0]
    with pytest.raises(ClaimsUnavailable):
        table.remove(at)
    with pytest.raises(ClaimsUnavailable):
        migrate(table, to="base")


def test_a_killed_database_refuses_and_loses_nothing(mariadb: MariaDbServer) -> None:
    """Without the database nothing is claimed and nothing given; when it is back the claims are there."""
    url = f"db+{mariadb.new_database()}"
    table = ClaimTable(url)
    migrate(table)
    at = target("memory://x")
    taken(table, at, "a")
    mariadb.stop()
    try:
        with pytest.raises(ClaimsUnavailable):
            taken(ClaimTable(url, patience=0.2), at, "b")
    finally:
        mariadb.start()
    with pytest.raises(ClaimRefused):
        taken(table, at, "b")
    assert taken(table, at, "a").claimant == claimant("a")


def test_a_connection_that_broke_is_made_anew(mariadb: MariaDbServer, table: XComTable) -> None:
    """After the server was killed and started again the same object reads on."""
    table.put(coordinate(), 1)
    database = table.database()
    assert database.count() == 1
    mariadb.stop()
    mariadb.start()
    assert database.count() == 1
    database.close()


def test_a_server_that_is_not_there_is_told_without_its_url() -> None:
    """A refused connection is an error of ours without the password of the URL."""
    refuses_without_telling(f"mysql+pymysql://me:canary-in-url@127.0.0.1:{free_port()}/a", "canary-in-url")


def test_doctor_needs_no_more_than_its_documented_rights(mariadb: MariaDbServer, table: XComTable) -> None:
    """With SELECT on the documented tables rows are looked at."""
    table.put(coordinate(), "a plain value")
    if table.schema is Schema.ATTEMPTS:
        table.retry(coordinate())
    tables = ["xcom"]
    if table.schema is Schema.ATTEMPTS:
        tables = ["xcom_v1", "xcom_v2", "task_instance", "dag_run", "legacy_task_data_owner", "dynamic_region"]
    database = Database(user(mariadb, table.url, *(f"SELECT ON {name}" for name in tables)))
    policy = AccessPolicy.single(("local:///nowhere/keyring.json",), "memory://nowhere")
    rows, findings, _ = examine_rows(policy, database)
    database.close()
    assert rows == 1
    assert [finding.rule for finding in findings] == ["plaintext-row"]

"""The metadata database on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import ProgrammingError

from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.operator_errors import DatabaseFailed, DatabaseUnknown
from secure_xcom.ops.xcom_table import Database, database_url
from secure_xcom.ops.xcom_table_errors import failed
from tests.support.airflow_here import airflow_here
from tests.support.database_contract import DatabaseContract, refuses_without_telling
from tests.support.world import coordinate
from tests.support.xcom_table import XComTable

__all__ = ["airflow_here"]


@pytest.fixture(params=Schema)
def table(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[XComTable]:
    """New tables of each schema."""
    made = XComTable(f"sqlite:///{tmp_path}/airflow.db", request.param)
    yield made
    made.close()


class TestSqlite(DatabaseContract):
    """The contract."""


def test_what_is_no_json_is_told_apart(table: XComTable) -> None:
    """A NaN that Python wrote and text that nobody can parse stop no reading."""
    table.put(coordinate(), 1)
    table.write_text("{broken")
    database = table.database()
    row = next(database.rows())
    assert row.value is None
    assert row.text == "{broken"
    assert database.object_of(row.position) is None
    database.close()


def test_an_error_tells_nothing_of_the_url(tmp_path: Path) -> None:
    """What cannot be opened, and a driver that is not there, are errors of ours without the URL."""
    refuses_without_telling(f"sqlite:///{tmp_path}/no/such/canary-in-url.db", "canary-in-url")
    for url in ("no url at all canary-in-url", "postgresql+nodriver://u:canary-in-url@h/d"):
        with pytest.raises(DatabaseFailed) as caught:
            Database(url)
        assert "canary-in-url" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "arguments"), [("42501", ("any",)), (None, (1142, "any")), (None, (1143, "any"))]
)
def test_a_missing_right_is_not_a_server_that_is_silent(code: str | None, arguments: tuple[object, ...]) -> None:
    """What PostgreSQL and MySQL deny is said to be denied, and the remedy names the page that lists the rights."""
    denied = type("InsufficientPrivilege", (Exception,), {"pgcode": code})(*arguments)
    error = failed(ProgrammingError("SELECT 1", {}, denied), "reading the DAGs")
    assert error.what == "the metadata database denies its user a right on a table (InsufficientPrivilege)"
    assert "docs/how-to/maintain.md" in error.remedy
    other = type("TooManyConnections", (Exception,), {"pgcode": "53300"})()
    assert "did not answer" in failed(ProgrammingError("SELECT 1", {}, other), "reading the DAGs").what


def test_a_mistyped_path_makes_no_database(tmp_path: Path) -> None:
    """A file of SQLite that is not there is an error that names the cure, and no empty database is left behind."""
    with pytest.raises(DatabaseFailed, match="airflow db migrate"):
        Database(f"sqlite:///{tmp_path}/airflow.db")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_not_airflows_is_told_as_such(tmp_path: Path) -> None:
    """Where there is no table xcom the error says so, instead of that nothing answers."""
    (tmp_path / "other.db").touch()
    database = Database(f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(DatabaseFailed, match="no table xcom"):
        list(database.rows())
    database.close()


def test_a_url_without_a_driver_gets_one_that_is_installed() -> None:
    """PostgreSQL is asked with psycopg2 where that is installed: it is the server that does not answer."""
    database = Database("postgresql://u:canary-in-url@127.0.0.1:1/d")
    with pytest.raises(DatabaseFailed, match="did not answer") as caught:
        database.tables()
    assert "canary" not in f"{caught.value} {database.name}"
    database.close()


def test_what_is_no_url_is_told_apart_from_a_missing_driver() -> None:
    """Each of the two has a cure of its own."""
    with pytest.raises(DatabaseFailed, match=r"cannot be read.*SQLAlchemy URL"):
        Database("no url at all")
    with pytest.raises(DatabaseFailed, match="install the driver"):
        Database("postgresql+nodriver://h/d")


def test_the_database_is_not_shown_with_its_password() -> None:
    """The name for people has no password, and the representation has no address."""
    database = Database("postgresql+psycopg2://me:canary-in-url@db.example/airflow")
    assert "canary-in-url" not in database.name
    assert repr(database) == "Database(postgresql)"


def test_the_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, airflow_here: None) -> None:
    """SECURE_XCOM_DB is the URL; what Airflow sets in task processes is none."""
    monkeypatch.setenv("SECURE_XCOM_DB", "sqlite:////here")
    assert database_url() == "sqlite:////here"
    monkeypatch.setenv("SECURE_XCOM_DB", "airflow-db-not-allowed:///")
    with pytest.raises(DatabaseUnknown):
        database_url()

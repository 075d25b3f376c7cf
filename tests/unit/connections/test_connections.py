"""The room of connections: databases that URIs name, and the driver that each gets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from secure_xcom.connections.airflow_connections import airflow_connection
from secure_xcom.connections.sql import database_url, with_driver
from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.service_errors import ConnectionUnknown


@pytest.fixture
def drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for drivers, where none is installed but those that a test makes there."""
    for name in ("psycopg2", "psycopg", "MySQLdb", "pymysql"):
        # What Python has loaded is found wherever it lies.
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


@pytest.mark.parametrize(
    ("installed", "url", "taken"),
    [
        (["psycopg2"], "postgresql://h/n", "postgresql+psycopg2"),
        (["psycopg"], "postgresql://h/n", "postgresql+psycopg"),
        (["psycopg", "psycopg2"], "postgresql://h/n", "postgresql+psycopg2"),
        (["psycopg2"], "postgresql+asyncpg://h/n", "postgresql+asyncpg"),
        ([], "postgresql://h/n", "postgresql"),
        (["MySQLdb"], "mysql://h/n", "mysql+mysqldb"),
        (["pymysql"], "mysql://h/n", "mysql+pymysql"),
        (["psycopg2"], "sqlite:///n", "sqlite"),
    ],
)
def test_the_driver_is_one_that_is_installed(drivers: Path, installed: list[str], url: str, taken: str) -> None:
    """A URL without a driver gets one that is there, whichever SQLAlchemy would take; a named one stays."""
    for name in installed:
        (drivers / name).mkdir()
        (drivers / name / "__init__.py").touch()
    assert with_driver(make_url(url)).drivername == taken


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        (
            {"conn_type": "postgres", "login": "u", "password": "p@/:", "host": "h", "port": 5433, "schema": "n"},
            "postgresql://u:p%40%2F%3A@h:5433/n",
        ),
        ({"conn_type": "mysql", "login": "u", "host": "h", "schema": "n"}, "mysql://u@h/n"),
        ({"conn_type": "sqlite", "host": "/a/b.db"}, "sqlite:////a/b.db"),
    ],
)
def test_a_connection_names_a_database(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, object], url: str
) -> None:
    """db://CONN_ID is the connection's server, login and database, whatever stands in its password."""
    monkeypatch.setenv("AIRFLOW_CONN_A_DATABASE", json.dumps(fields))
    assert database_url("db://a_database", where="here").render_as_string(hide_password=False) == url


@pytest.mark.parametrize(
    "uri", ["postgresql://u:geheim@h/n", "db+geheim", "db+postgresql://u:geheim@h:port/n", ""]
)
def test_what_names_no_database_is_told_without_its_password(uri: str) -> None:
    """What is neither db:// nor a URL behind db+ is refused by name, and is not repeated."""
    with pytest.raises(UriInvalid, match="here") as caught:
        database_url(uri, where="here")
    assert "geheim" not in f"{caught.value}{caught.value!r}{caught.value.__cause__}"


def test_a_connection_that_is_not_there_says_what_to_correct() -> None:
    """The error names the id, who needs it, and what to do."""
    with pytest.raises(ConnectionUnknown, match="'nobody_made_this'") as caught:
        airflow_connection("nobody_made_this", where="sink URI x", named="what stands behind y")
    assert caught.value.where == "sink URI x"
    assert caught.value.remedy.endswith("or correct what stands behind y")

"""Places of claims on this machine: a folder and SQLite; migrations; what a broken database says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateTable

from secure_xcom.claims.claim import RECORD_MAX_BYTES
from secure_xcom.claims.claim_listing import ListedClaimObjects
from secure_xcom.claims.claim_table import ClaimTable
from secure_xcom.claims.ledger import ListedLedger
from secure_xcom.claims.migrate import VERSION_TABLE, migrate, version
from secure_xcom.claims.table_schema import claim_xcom
from secure_xcom.core.claim_errors import ClaimTampered
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import StoreError, UriInvalid
from secure_xcom.core.service_errors import ClaimsUnavailable, ConnectionUnknown
from secure_xcom.stores import store
from tests.support.claim_contract import ClaimContract, ClaimTableContract, taken, target
from tests.support.doubles import MemoryStore


class TestFolder(ClaimContract):
    THREADS = 10

    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        (tmp_path / "store").mkdir()
        return f"file://{tmp_path}/store"

    @pytest.fixture
    def ledger(self, place: str) -> ListedLedger:
        opened = store(place)
        return ListedClaimObjects(lambda _: opened)

    @pytest.fixture
    def race(self, place: str) -> tuple[str, str]:
        return "store", place


def test_a_claim_that_somebody_made_huge() -> None:
    """Of an object in a claim's place no more is read than a claim may have, and it is refused."""

    class Reads(MemoryStore):
        def get_many(
            self, paths: Sequence[str], sizes: Sequence[int] | None = None
        ) -> Iterator[bytes | StoreError]:
            assert sizes == [RECORD_MAX_BYTES]
            return super().get_many(paths, sizes)

    opened = Reads()
    at = target(opened.uri)
    opened.put(at.path, [bytes(1 << 20)])
    with pytest.raises(ClaimTampered, match=f"over {RECORD_MAX_BYTES} bytes"):
        ListedClaimObjects(lambda _: opened).find_many([at])


def test_a_claim_of_an_odd_name(tmp_path: Path) -> None:
    """What bears a name that no claim can have is told in its place, and those behind it are listed."""
    opened = store(f"file://{tmp_path}")
    ledger = ListedClaimObjects(lambda _: opened)
    taken(ledger, target(opened.uri, "finance"), "a")
    (tmp_path / "~claims" / "finance" / "a b").write_bytes(b"")
    found = list(ledger.list([(opened.uri, "finance")]))
    assert sorted(type(one).__name__ for one in found) == ["Claim", "ClaimTampered"]


class TestSqlite(ClaimTableContract):
    THREADS = 10

    @pytest.fixture
    def race(self, tmp_path: Path) -> tuple[str, str]:
        return "database", f"db+sqlite:///{tmp_path}/claims.db"


def test_migrations_make_what_the_models_say(tmp_path: Path) -> None:
    """Up, up again and down: the table is the models' own, other tables stay, and so does their version."""
    url = f"sqlite:///{tmp_path}/airflow.db"
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(sqlalchemy.text("INSERT INTO alembic_version VALUES ('theirs')"))
    table = ClaimTable(f"db+{url}")
    assert version(table) is None
    assert migrate(table) == (None, "0001")
    assert migrate(table) == ("0001", "0001")
    found = sqlalchemy.inspect(engine).get_columns("claim_xcom")
    wanted = claim_xcom().columns
    assert [(one["name"], str(one["type"]), one["nullable"]) for one in found] == [
        (one.name, one.type.compile(sqlite.dialect()), one.nullable) for one in wanted
    ]
    inspector = sqlalchemy.inspect(engine)
    assert inspector.get_pk_constraint("claim_xcom")["constrained_columns"] == ["payload"]
    assert [one["name"] for one in sqlalchemy.inspect(engine).get_indexes("claim_xcom")] == [
        "claim_xcom_compartment"
    ]
    assert migrate(table, to="base") == ("0001", None)
    names = set(sqlalchemy.inspect(engine).get_table_names())
    assert names == {"alembic_version", VERSION_TABLE}
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar() == "theirs"
    engine.dispose()


@pytest.mark.parametrize("module", [postgresql, mysql, sqlite], ids=["postgresql", "mysql", "sqlite"])
def test_every_database_can_have_the_table(module: Any) -> None:
    """The table compiles for each database, with the payload's UUID as the whole primary key."""
    text = str(CreateTable(claim_xcom()).compile(dialect=module.dialect()))
    assert "PRIMARY KEY (payload)" in text
    assert "record TEXT NOT NULL" in text


def test_a_database_without_the_table_says_what_to_run(tmp_path: Path) -> None:
    """A pull never makes the table; its error names the command, and no password."""
    table = ClaimTable(f"db+sqlite:///{tmp_path}/claims.db")
    with pytest.raises(ClaimsUnavailable, match="claims migrate"):
        table.find_many([target("memory://x")])


def test_a_database_that_is_not_there_is_named_without_its_password() -> None:
    """Neither the error nor the ledger shows the password, and the wait for it is bounded."""
    table = ClaimTable("db+postgresql://airflow:geheim@127.0.0.1:1/claims", patience=0.1)
    with pytest.raises(ClaimsUnavailable) as caught:
        table.find_many([target("memory://x")])
    assert "geheim" not in f"{caught.value} {table.uri} {caught.value.__cause__}"
    assert "airflow:***@127.0.0.1" in str(caught.value)


@pytest.mark.parametrize("uri", ["db://claims", "db+postgresql://u:geheim@127.0.0.1:1/claims"])
def test_claims_take_the_driver_that_is_installed(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    """PostgreSQL is asked with psycopg2 where that is installed: it is the server that does not answer."""
    place = {"conn_type": "postgres", "login": "u", "password": "geheim", "host": "127.0.0.1", "port": 1}
    monkeypatch.setenv("AIRFLOW_CONN_CLAIMS", json.dumps({**place, "schema": "claims"}))
    table = ClaimTable(uri, patience=0)
    assert table.uri == "db+postgresql://u:***@127.0.0.1:1/claims"
    with pytest.raises(ClaimsUnavailable, match="OperationalError"):
        table.find_many([target("memory://x")])


@pytest.mark.parametrize("login", ["u:geheim@h/n?sslmode=require", "u:gehe@geheim@h/n", "h/n?password=geheim"])
def test_no_form_of_a_password_is_shown(login: str) -> None:
    """A password among a URL's options, or one with an unescaped @, is not shown either."""
    uri = f"db+postgresql://{login}"
    assert "geheim" not in ClaimTable(uri).uri
    assert "geheim" not in repr(Settings(claims_uri=uri, audit_sinks=(uri,)))


def test_a_connection_of_airflow_names_the_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """db://CONN_ID is read from the connection; another type of connection, or none, is refused by name."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_CLAIMS", '{"conn_type": "postgres", "host": "h", "login": "u", "password": "geheim"}'
    )
    assert ClaimTable("db://claims").uri == "db+postgresql://u:***@h"
    monkeypatch.setenv("AIRFLOW_CONN_CLAIMS", f'{{"conn_type": "sqlite", "host": "{tmp_path}/c.db"}}')
    table = ClaimTable("db://claims")
    assert migrate(table) == (None, "0001")
    monkeypatch.setenv("AIRFLOW_CONN_CLAIMS", '{"conn_type": "http", "host": "h"}')
    with pytest.raises(UriInvalid, match="http"):
        ClaimTable("db://claims")
    with pytest.raises(ConnectionUnknown):
        ClaimTable("db://claims_nobody_has")

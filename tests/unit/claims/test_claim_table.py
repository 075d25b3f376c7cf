"""Claims as rows, on SQLite: pages, moved and broken rows, and how long a connection is tried for."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.engine import Engine

from secure_xcom.claims.claim import PROOF_BYTES, Claim
from secure_xcom.claims.claim_table import ClaimTable
from secure_xcom.claims.claimant import Claimant, Target
from secure_xcom.claims.migrate import migrate
from secure_xcom.claims.table_schema import claim_xcom, row_of
from secure_xcom.core.claim_errors import ClaimTampered
from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.service_errors import ClaimsUnavailable
from tests.support.claim_contract import taken, target

READER = Claimant("readers", "run", "load", -1, 1)


@pytest.fixture
def table(tmp_path: Path) -> ClaimTable:
    """An empty table."""
    made = ClaimTable(f"db+sqlite:///{tmp_path}/claims.db")
    migrate(made)
    return made


def claim_on(at: Target) -> Claim:
    """A claim whose proof has the right length."""
    return replace(Claim.of(at, READER), proof=bytes(PROOF_BYTES))


def fill(table: ClaimTable, targets: list[Target]) -> None:
    """Write claims, all at once."""
    rows = [row_of(at, claim_on(at)) for at in targets]
    with table.connection() as connection:
        connection.execute(claim_xcom().insert(), rows)
        connection.commit()


def replace_record(table: ClaimTable, at: Target, record: Any) -> None:
    """Write over the record of a claim."""
    with table.connection() as connection:
        columns = claim_xcom().c
        update = claim_xcom().update().where(columns.payload == at.unique)
        connection.execute(update.values(record=sqlalchemy.literal(record, sqlalchemy.types.NullType())))
        connection.commit()


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2001])
def test_every_claim_is_listed_and_found_once_whatever_the_pages(table: ClaimTable, count: int) -> None:
    """Pages have a thousand rows; those at their ends are neither lost nor told twice."""
    targets = [target("memory://x", map_index=number) for number in range(count)]
    if targets:
        fill(table, targets)
    listed = [claim.object for claim in table.list([("memory://x", "finance")]) if isinstance(claim, Claim)]
    assert sorted(listed) == sorted(at.object for at in targets)
    found = table.find_many(targets)
    assert [claim and claim.object for claim in found] == [at.object for at in targets]


def test_a_page_has_a_thousand_rows(table: ClaimTable) -> None:
    """Few enough for a statement's parameters on every database, and for a task's memory."""
    fill(table, [target("memory://x", map_index=number) for number in range(1001)])
    sizes: list[int] = []

    def noted(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "LIMIT" in statement:
            sizes.append(parameters[-2])

    sqlalchemy.event.listen(Engine, "before_cursor_execute", noted)
    try:
        assert len(list(table.list([("memory://x", "finance")]))) == 1001
    finally:
        sqlalchemy.event.remove(Engine, "before_cursor_execute", noted)
    assert sizes == [1000, 1000]


def test_only_the_named_compartments_are_listed(table: ClaimTable) -> None:
    """Maintenance of one compartment sees no claims of another."""
    fill(table, [target("memory://x", "finance"), target("memory://x", "sales")])
    [claim] = table.list([("memory://x", "sales")])
    assert isinstance(claim, Claim)
    assert claim.compartment == "sales"


def test_a_row_that_was_moved_is_refused(table: ClaimTable) -> None:
    """A genuine record in the row of another push is a claim on neither."""
    first, second = target("memory://x"), target("memory://x", map_index=3)
    fill(table, [first, second])
    replace_record(table, second, claim_on(first).dump().decode())
    with pytest.raises(ClaimTampered, match="another XCom"):
        table.find_many([first, second])
    [_, moved] = sorted(table.list([("memory://x", "finance")]), key=lambda one: isinstance(one, ClaimTampered))
    assert "different claim than its record" in str(moved)


@pytest.mark.parametrize("as_it_is", [lambda raw: raw, lambda raw: raw.decode()], ids=["bytes", "text"])
def test_a_record_is_read_as_bytes_or_as_text(table: ClaimTable, as_it_is: Callable[[bytes], Any]) -> None:
    """SQLite returns whatever was written."""
    at = target("memory://x")
    fill(table, [at])
    replace_record(table, at, as_it_is(claim_on(at).dump()))
    [claim] = table.find_many([at])
    assert claim is not None
    assert claim.claimant == READER


@pytest.mark.parametrize("record", [7, 1.5, b"\xff", ""])
def test_a_record_that_is_none_is_an_error_of_ours(table: ClaimTable, record: Any) -> None:
    """Whatever stands in the column, nothing else leaves."""
    at = target("memory://x")
    fill(table, [at])
    replace_record(table, at, record)
    with pytest.raises(ClaimTampered):
        table.find_many([at])


@contextmanager
def refusals(times: float) -> Iterator[None]:
    """A server that refuses so many connections."""
    left = [times]

    def refuse(*_: object) -> None:
        if left[0]:
            left[0] -= 1
            raise sqlite3.OperationalError("too many clients")

    sqlalchemy.event.listen(Engine, "do_connect", refuse)
    try:
        yield
    finally:
        sqlalchemy.event.remove(Engine, "do_connect", refuse)


def test_a_rush_of_tasks_is_waited_out(table: ClaimTable, sleeps: list[float]) -> None:
    """Each wait is twice as long, up to two seconds."""
    at = target("memory://x")
    with refusals(8):
        assert table.find_many([at]) == [None]
    assert sleeps == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_a_server_that_stays_away_is_told_within_20_seconds(table: ClaimTable, sleeps: list[float]) -> None:
    """The database's own refusal ends it, as an error of ours."""
    with refusals(float("inf")), pytest.raises(ClaimsUnavailable, match="cannot be used"):
        table.find_many([target("memory://x")])
    assert 18 < sum(sleeps) <= 20


@pytest.mark.parametrize("backend", ["postgresql", "mysql", "sqlite"])
def test_the_three_kinds_of_database_are_taken(backend: str) -> None:
    """Airflow runs on these."""
    assert ClaimTable(f"db+{backend}://u@h/x" if backend != "sqlite" else "db+sqlite:////x").kind == "database"


def test_another_kind_of_database_is_refused() -> None:
    """Its name is told."""
    with pytest.raises(UriInvalid, match="oracle"):
        ClaimTable(f"db+oracle://u@h/{uuid.uuid4().hex}")


def test_a_claim_is_created_and_removed(table: ClaimTable) -> None:
    """A removed claim can be made again."""
    at = target("memory://x")
    first = taken(table, at, "a")
    assert table.create(at, first) is False
    table.remove(at)
    assert table.find_many([at]) == [None]
    assert table.create(at, first) is True

"""The tables of Airflow 3.4: attempts, regions, and rows from before the upgrade."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from secure_xcom.connections.sql.airflow_tables import Schema
from tests.support.airflow_here import airflow_here
from tests.support.airflow_schema import make_tables

__all__ = ["airflow_here"]
pytestmark = pytest.mark.usefixtures("airflow_here")

START = datetime(2026, 12, 1)  # noqa: DTZ001  # as SQLite keeps it
RUN_ID, REGION = "run_1", uuid.uuid4()
_TABLES = ("dag_run", "task_instance", "xcom_v2", "xcom_v1", "legacy_task_data_owner")


class Rows:
    """Tables to write attempts and XComs into."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.tables = sa.MetaData()
        self.tables.reflect(engine, only=list(_TABLES), resolve_fks=False)
        self.add("dag_run", id=1, dag_id="d", run_id=RUN_ID, run_after=START)

    def add(self, name: str, **row: Any) -> None:
        """Write a row; columns that Airflow needs besides get a value of their kind."""
        table = self.tables.tables[name]
        for column in table.columns:
            if column.name not in row and not column.nullable and column.server_default is None:
                row[column.name] = _filler(column.type)
        values = {key: value.hex if isinstance(value, uuid.UUID) else value for key, value in row.items()}
        with self.engine.begin() as connection:
            connection.execute(table.insert().values(**values))

    def attempt(
        self, task_id: str, *, index: int = -1, live: bool = True, number: int = 1, region: Any = None
    ) -> Any:
        """Make a try of a task instance."""
        ti = uuid.uuid4()
        self.add(
            "task_instance", id=ti, dag_id="d", run_id=RUN_ID, task_id=task_id, region_index=index,
            region_id=region or uuid.UUID(int=0), try_number=number, working_set=True if live else None,
        )  # fmt: skip
        return ti

    def push(self, ti: uuid.UUID, key: str, value: Any) -> None:
        """Write an XCom of a try."""
        self.add("xcom_v2", id=uuid.uuid4(), task_instance_id=ti, key=key, value=value, timestamp=START)

    def before(self, ti: uuid.UUID, task_id: str, key: str, value: Any) -> None:
        """Write an XCom that was there before the upgrade."""
        place = {"dag_id": "d", "task_id": task_id, "run_id": RUN_ID, "map_index": -1}
        with self.engine.connect() as connection:
            owner = self.tables.tables["legacy_task_data_owner"]
            known = connection.execute(sa.select(owner).where(owner.c.task_id == task_id)).first()
        if known is None:
            self.add("legacy_task_data_owner", **place, task_instance_id=ti)
        self.add("xcom_v1", **place, dag_run_id=1, key=key, value=value, timestamp=START)


def _filler(kind: Any) -> Any:
    if isinstance(kind, sa.DateTime):
        return START
    if isinstance(kind, sa.JSON):
        return {}
    return 1 if isinstance(kind, sa.Integer | sa.Boolean | sa.Numeric) else "x"


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    """Empty tables of Airflow 3.4."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/airflow.db")
    make_tables(engine, Schema.ATTEMPTS)
    made = Rows(engine)
    yield made
    engine.dispose()


def asked(rows: Rows, *, limit: int = 50, **narrow: Any) -> list[tuple[Any, ...]]:
    """Task, index, key, text, try and whether it is live, of all pages."""
    from secure_xcom.airflow.plugin.ui.known_tables import tables_of
    from secure_xcom.airflow.plugin.ui.stored import Narrow

    with Session(rows.engine) as session:
        tables = tables_of(session)
        run = tables.run("d", RUN_ID)
        assert run is not None
        found, after = [], None
        while page := tables.of_task(run, Narrow(**narrow), after=after, limit=limit):
            found += page
            after = page[-1].place
        assert tables.count(run, Narrow(**narrow)) == len(found)
        return [
            (*one.place[:3], one.text, one.attempt.try_number, one.attempt.live) for one in found if one.attempt
        ]


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_the_live_attempt_is_shown_by_default(rows: Rows, limit: int) -> None:
    """A retried task shows what its latest try pushed; a try can be chosen by its number or its UUID."""
    from secure_xcom.airflow.plugin.ui.stored import Attempts, Wanted

    first = rows.attempt("t", live=False)
    second = rows.attempt("t", number=2)
    for ti, value in ((first, "one"), (second, "two")):
        rows.push(ti, "k", value)
        rows.push(ti, "l", value)
    task = Wanted("t")
    live = [("t", -1, key, '"two"', 2, True) for key in "kl"]
    archived = [("t", -1, key, '"one"', 1, False) for key in "kl"]
    assert asked(rows, limit=limit, task_id=task, attempts=Attempts()) == live
    assert asked(rows, limit=limit, task_id=task, attempts=Attempts(try_number=1)) == archived
    assert asked(rows, limit=limit, task_id=task, attempts=Attempts(ti_id=first)) == archived
    assert sorted(asked(rows, limit=limit, task_id=task)) == sorted(live + archived)


def test_iterations_of_a_loop_are_told_apart(rows: Rows) -> None:
    """Iterations have one coordinate; each is found by its region and its index."""
    from secure_xcom.airflow.plugin.ui.stored import Attempts, Wanted

    for index in range(3):
        rows.push(rows.attempt("t", index=index, region=REGION), "k", index)
    assert [row[1:4] for row in asked(rows, task_id=Wanted("t"), attempts=Attempts())] == [
        (0, "k", "0"), (1, "k", "1"), (2, "k", "2"),
    ]  # fmt: skip
    chosen = Attempts(region_id=REGION, region_index=1)
    assert [row[3] for row in asked(rows, task_id=Wanted("t"), attempts=chosen)] == ["1"]


def test_rows_from_before_the_upgrade_are_shown(rows: Rows) -> None:
    """What an earlier Airflow wrote is there, unless its attempt has pushed the key again."""
    from secure_xcom.airflow.plugin.ui.stored import Wanted

    ti = rows.attempt("t")
    rows.before(ti, "t", "old", "v1")
    rows.before(ti, "t", "both", "v1")
    rows.push(ti, "both", "v2")
    assert [row[2:4] for row in asked(rows, task_id=Wanted("t"))] == [("both", '"v2"'), ("old", '"v1"')]


def test_the_tries_of_a_task_are_listed(rows: Rows) -> None:
    """The page can offer every try with what it left, the live one first."""
    from secure_xcom.airflow.plugin.ui.known_tables import tables_of
    from secure_xcom.airflow.plugin.ui.stored import Attempts, Narrow, Wanted

    rows.push(rows.attempt("t", live=False), "k", 1)
    live = rows.attempt("t", number=2)
    rows.push(live, "k", 1)
    rows.push(live, "l", 1)
    rows.attempt("t", live=False, number=0)
    with Session(rows.engine) as session:
        tables = tables_of(session)
        run = tables.run("d", RUN_ID)
        assert run is not None
        found = tables.attempts(run, Narrow(Wanted("t"), attempts=Attempts()))
    assert [(one.try_number, one.live, xcoms) for one, xcoms in found] == [
        (2, True, 2),
        (1, False, 1),
        (0, False, 0),
    ]


def test_browse_pages_through_attempts(rows: Rows) -> None:
    """Rows of one coordinate come once each, page by page."""
    from secure_xcom.airflow.plugin.ui.browsing import Filters, browse
    from secure_xcom.airflow.plugin.ui.known_tables import tables_of

    for number in range(7):
        rows.push(rows.attempt("t", live=number == 6, number=number), "k", number)
    found, after = [], None
    while True:
        with Session(rows.engine) as session:
            page = browse(tables_of(session), None, Filters({"d"}), after=after, limit=2)
        found += [one.stored.text for one in page.xcoms]
        after = page.next
        if after is None:
            break
    assert sorted(map(str, found)) == [str(number) for number in range(7)]


def test_a_made_up_attempt_is_refused(rows: Rows) -> None:
    """A position with another attempt than a UUID is refused with an error of ours."""
    from secure_xcom.airflow.plugin.ui.known_tables import tables_of
    from secure_xcom.airflow.plugin.ui.stored import Narrow, Place
    from secure_xcom.core.operator_errors import RequestInvalid

    with Session(rows.engine) as session:
        tables = tables_of(session)
        run = tables.run("d", RUN_ID)
        assert run is not None
        with pytest.raises(RequestInvalid):
            tables.of_task(run, Narrow(), after=Place("t", -1, "k", "x"), limit=1)


def test_a_reference_of_a_loop_may_have_no_index() -> None:
    """In a loop the row's index is the iteration's: the head may say that index or none, and no other."""
    import json

    from secure_xcom.airflow.plugin.ui.looking import look
    from secure_xcom.airflow.plugin.ui.stored import Attempt, Place, Run, StoredXCom
    from tests.support.world import World, coordinate

    reference, at = World().push(1), coordinate()
    run = Run(1, at.dag_id, at.run_id, datetime.now(timezone.utc))

    def state(index: int, region: str | None) -> str:
        attempt = Attempt(str(uuid.uuid4()), 1, True, region, index)
        place = Place(at.task_id, index, at.key, uuid.uuid4().hex)
        return look(StoredXCom(run, place, json.dumps(reference), False, None, attempt), None).state

    assert (state(-1, None), state(3, str(REGION)), state(3, None)) == ("sealed", "sealed", "unreadable")

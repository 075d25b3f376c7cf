"""What the scan behind the page under Browse promises, for each database (fixture ``session``)."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from secure_xcom.connections.sql.airflow_tables import Schema
from tests.support import airflow_schema

START = datetime(2026, 12, 1, tzinfo=timezone.utc)
_METADATA = sa.MetaData()
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_TIME = sa.DateTime(timezone=True)
# Columns of Airflow's tables, and what it writes into those that it always fills.
RUN = sa.Table(
    "dag_run",
    _METADATA,
    sa.Column("id", sa.Integer),
    sa.Column("dag_id", sa.String),
    sa.Column("run_id", sa.String),
    sa.Column("run_after", _TIME),
    sa.Column("run_type", sa.String, default="manual"),
)
XCOM = sa.Table(
    "xcom",
    _METADATA,
    sa.Column("dag_run_id", sa.Integer),
    sa.Column("dag_id", sa.String, default="dag"),
    sa.Column("run_id", sa.String, default="run"),
    sa.Column("task_id", sa.String),
    sa.Column("map_index", sa.Integer),
    sa.Column("key", sa.String),
    sa.Column("timestamp", _TIME),
    sa.Column("value", _JSON),
)


def make_tables(url: str) -> sa.Engine:
    """Make the tables in an empty database."""
    engine = sa.create_engine(url)
    airflow_schema.make_tables(engine, Schema.COORDINATES)
    return engine


def fill(session: Session, runs: int, rows: Callable[[int], int], value: Any = "plain") -> None:
    """Write runs of two DAGs in turn, several at one moment, with so many XComs in each."""
    for number in range(1, runs + 1):
        dag_id, moment = f"dag_{number % 2}", START + timedelta(minutes=number // 3)
        session.execute(RUN.insert().values(id=number, dag_id=dag_id, run_id=f"run_{number}", run_after=moment))
        # Upper and lower case, and what a collation may put elsewhere than code points do.
        places = [(f"{'aBc_Ä'[at % 5]}{at // 5 % 4}", at % 3 - 1, f"key-{at}") for at in range(rows(number))]
        if places:
            session.execute(
                XCOM.insert(),
                [
                    {"dag_run_id": number, "task_id": task, "map_index": index, "key": key, "value": value,
                     "timestamp": moment}
                    for task, index, key in places
                ],
            )  # fmt: skip
    session.commit()


def pages(session: Session, limit: int, **filters: Any) -> tuple[list[tuple[Any, ...]], int]:
    """All rows, page by page, and how many pages there were."""
    from secure_xcom.airflow.plugin.ui.browsing import Filters, browse
    from secure_xcom.airflow.plugin.ui.known_tables import tables_of

    asked = Filters(**{"dag_ids": {"dag_0", "dag_1"}, **filters})
    found: list[tuple[Any, ...]] = []
    after = None
    for number in range(1, 2000):
        page = browse(tables_of(session), None, asked, after=after, limit=limit)
        assert len(page.xcoms) <= limit
        found += [(one.stored.run.run_id, *one.stored.place[:3]) for one in page.xcoms]
        assert page.looked()["all"] is (page.next is None)
        after = page.next
        if after is None:
            return found, number
    raise AssertionError("the pages do not end")


def expected(session: Session, **where: Any) -> set[tuple[Any, ...]]:
    """All rows, as one statement gives them."""
    joined = sa.select(RUN.c.run_id, XCOM.c.task_id, XCOM.c.map_index, XCOM.c.key).join(
        XCOM, XCOM.c.dag_run_id == RUN.c.id
    )
    for name, value in where.items():
        joined = joined.where((RUN if name in RUN.c else XCOM).c[name] == value)
    return {tuple(row) for row in session.execute(joined)}


def fill_row(session: Session, task_id: str, value: Any) -> None:
    """Write one more XCom of the first run."""
    row = {"dag_run_id": 1, "task_id": task_id, "map_index": -1, "key": "k", "timestamp": START}
    session.execute(XCOM.insert().values(**row, value=value))
    session.commit()


class BrowsingContract:
    """Every page of every database is right."""

    @pytest.mark.parametrize("limit", [1, 3, 50, 200])
    def test_every_row_comes_once(self, session: Session, limit: int) -> None:
        """Pages of any size have every row once, runs of one moment and empty runs among them."""
        source = random.Random(7)
        fill(session, 25, lambda _: source.choice((0, 0, 1, 5, 23)))
        found, _ = pages(session, limit)
        assert len(found) == len(set(found))
        assert set(found) == expected(session)

    def test_the_newest_runs_come_first(self, session: Session) -> None:
        """Runs come by the time that they are for, the latest first."""
        fill(session, 12, lambda _: 2)
        found, _ = pages(session, 5)
        order = list(dict.fromkeys(run for run, *_ in found))
        assert order == [f"run_{number}" for number in range(12, 0, -1)]

    def test_a_run_of_many_rows_is_read_to_its_end(self, session: Session) -> None:
        """A run with more rows than one statement fetches is whole."""
        fill(session, 3, lambda number: 1700 if number == 2 else 1)
        found, _ = pages(session, 150)
        assert set(found) == expected(session)
        assert len(found) == 1702

    def test_filters_leave_what_is_asked_for(self, session: Session) -> None:
        """DAG, run, task, key and time each leave their rows, exact and by a beginning."""
        from secure_xcom.airflow.plugin.ui.stored import Wanted

        fill(session, 20, lambda _: 9)
        assert set(pages(session, 7, dag_ids={"dag_1"})[0]) == expected(session, dag_id="dag_1")
        assert pages(session, 7, dag_ids=set())[0] == []
        assert set(pages(session, 7, run_id=Wanted.of("run_3"))[0]) == expected(session, run_id="run_3")
        assert {run for run, *_ in pages(session, 7, run_id=Wanted.of("run_1*"))[0]} == {
            "run_1", *(f"run_{number}" for number in range(10, 20)),
        }  # fmt: skip
        assert set(pages(session, 7, key=Wanted.of("key-4"))[0]) == expected(session, key="key-4")
        assert {task[0] for _, task, *_ in pages(session, 7, task_id=Wanted.of("B*"))[0]} == {"B"}
        # A beginning is a text and no pattern.
        assert pages(session, 7, key=Wanted.of("%*"))[0] == []
        assert pages(session, 7, task_id=Wanted.of("_*"))[0] == [
            row for row in pages(session, 7)[0] if row[1][0] == "_"
        ]
        moment = START + timedelta(minutes=3)
        late = {row for row in expected(session) if int(row[0].removeprefix("run_")) // 3 >= 3}
        assert set(pages(session, 7, since=moment)[0]) == late
        assert set(pages(session, 7, until=moment)[0]) == expected(session) - late

    def test_a_scan_stops_at_its_bound(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer looks at so many rows and says how far back; the next one goes on there, and none is lost."""
        from secure_xcom.airflow.plugin.ui import browsing
        from secure_xcom.airflow.plugin.ui.known_tables import tables_of

        monkeypatch.setattr(browsing, "ROWS_MAX", 40)
        monkeypatch.setattr(browsing, "RUNS_MAX", 6)
        fill(session, 30, lambda number: 11 if number % 4 else 0)
        asked = browsing.Filters({"dag_0", "dag_1"}, state="sealed")
        first = browsing.browse(tables_of(session), None, asked, after=None, limit=50)
        assert (first.xcoms, first.rows <= 40, first.runs <= 6, first.next is None) == ([], True, True, False)
        assert first.looked()["back_to"] is not None
        found, count = pages(session, 50, state="plaintext")
        assert set(found) == expected(session)
        assert len(found) == len(set(found))
        assert count > 5

    def test_a_position_that_is_made_up_shows_nothing_more(self, session: Session) -> None:
        """A position of another run gives rows of one's own DAGs alone."""
        from secure_xcom.airflow.plugin.ui.browsing import Filters, browse
        from secure_xcom.airflow.plugin.ui.cursors import encoded
        from secure_xcom.airflow.plugin.ui.known_tables import tables_of

        fill(session, 6, lambda _: 3)
        for made_up in (
            encoded((0, 1, "", -2, "", "")),
            encoded((1 << 62, 2, "a0", 0, "x", "")),
            encoded((-(1 << 62), 2, "a0", 0, "x", "")),
            encoded((1_800_000_000_000_000, 2, "", 1 << 40, "", "")),
        ):
            page = browse(tables_of(session), None, Filters({"dag_1"}), after=made_up, limit=50)
            assert {one.stored.run.dag_id for one in page.xcoms} <= {"dag_1"}

    def test_an_inline_payload_is_not_fetched(self, session: Session) -> None:
        """PostgreSQL gives a reference without its inline payload, and what is too long not at all."""
        from secure_xcom.airflow.plugin.ui.known_tables import tables_of
        from secure_xcom.airflow.plugin.ui.stored import Narrow, Run

        long = {"secure_xcom": 1, "payload": "A" * 80_000, "seal": {}}
        fill(session, 1, lambda _: 1, value=long)
        huge = {"secure_xcom": 1, "keys": [random.Random(1).randbytes(300_000).hex()]}
        fill_row(session, "huge", huge)
        fill_row(session, "list", ["secure_xcom"])
        fill_row(session, "nothing", None)
        run = Run(1, "dag_1", "run_1", START)
        rows = tables_of(session).of_runs([run], Narrow(), after=None, limit=10)
        found = {row.place.task_id: row for row in rows}
        assert (found["huge"].text, found["huge"].tagged) == (None, True)
        assert (found["list"].text, found["list"].tagged) == ('["secure_xcom"]', False)
        assert found["nothing"].tagged is False
        if session.get_bind().dialect.name == "postgresql":
            assert len(found["a0"].text or "") < 100

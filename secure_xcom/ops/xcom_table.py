"""Read and change Airflow's table ``xcom`` from outside of Airflow, with SQLAlchemy Core.

A task process of Airflow 3 has no access to the metadata database, so maintenance has a database URL of its own:
the environment's ``SECURE_XCOM_DB``, by default Airflow's ``[database] sql_alchemy_conn``. The URL holds a
password: it is never taken from the arguments of a process, and never printed.

Permissions: ``SELECT`` on ``xcom`` for gc and doctor; ``UPDATE`` and ``DELETE`` on it for what changes rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from secure_xcom.connections.sql import make_engine, shown_url
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import DatabaseFailed, DatabaseUnknown
from secure_xcom.core.reference import TAG
from secure_xcom.ops.xcom_table_errors import URL_PLACE, failed, of_a_value, refuse_a_missing_file, translated

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection, Engine

ENVIRONMENT = "SECURE_XCOM_DB"

PAGE_ROWS = 500
TEXT_MAX_CHARACTERS = 128 << 10
"""A reference with the largest inline payload is shorter. With PAGE_ROWS it bounds a page to 64 MiB."""

_KEY = ("dag_run_id", "task_id", "map_index", "key")
_IDS = ("dag_id", "run_id", "task_id", "map_index", "key")
# SQLite takes 32,766 parameters in a statement, and older builds of it 999.
_TASKS_AT_ONCE = 200


class Position(NamedTuple):
    """The primary key of a row, in the order in which rows are read."""

    dag_run_id: int
    task_id: str
    map_index: int
    key: str


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row of the table ``xcom``.

    :ivar text: the value as JSON text as the database gives it; None where it is over TEXT_MAX_CHARACTERS.
    :ivar size: the text's length, in characters or bytes as the database counts.
    """

    position: Position
    dag_id: str
    run_id: str
    text: str | None = field(repr=False)
    size: int
    timestamp: datetime | None = None

    @property
    def coordinate(self) -> Coordinate:
        """Where this XCom lives.

        :raises CoordinateInvalid: an id of the row cannot be one.
        """
        at = self.position
        return Coordinate(self.dag_id, self.run_id, at.task_id, at.map_index, at.key)

    @property
    def value(self) -> Any:
        """The value, decoded; None where the text is no JSON or was too long to be read."""
        return decoded(self.text)

    @property
    def where(self) -> str:
        """The row's ids, for people."""
        at = self.position
        mapped = f"[{at.map_index}]" if at.map_index >= 0 else ""
        return f"{self.dag_id}/{self.run_id}/{at.task_id}{mapped}:{at.key}".encode("unicode_escape").decode()


def decoded(text: str | None) -> Any:
    """Parse a value's JSON text as Airflow does; None where it is not JSON."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def database_url() -> str:
    """Return the database URL for this process.

    :raises DatabaseUnknown: neither the environment nor Airflow names one that can be used.
    """
    from importlib.util import find_spec

    url = os.environ.get(ENVIRONMENT)
    if not url and find_spec("airflow") is not None:
        from airflow.configuration import conf

        url = conf.get("database", "sql_alchemy_conn", fallback=None)
    # Airflow sets this URL in task processes, so that no task reaches the metadata database by accident.
    if not url or url.startswith("airflow-db-not-allowed:"):
        raise DatabaseUnknown("no metadata database is known to this process", where=ENVIRONMENT)
    return str(url)


class Database:
    """The table ``xcom``. Every statement is a short transaction of its own, so no task ever waits long for it.

    :param url: SQLAlchemy URL with a synchronous driver: SQLite, PostgreSQL or MySQL.
    :raises DatabaseFailed: the URL cannot be read, its driver is not installed, or a file is not there.
    """

    def __init__(self, url: str) -> None:
        import sqlalchemy

        with translated(URL_PLACE):
            parsed = sqlalchemy.make_url(url)
            if parsed.get_backend_name() == "sqlite":
                refuse_a_missing_file(parsed)
            self._engine: Engine = make_engine(parsed, pool="checked")
        self.name = shown_url(parsed)
        self.dialect = self._engine.dialect.name
        self._table = sqlalchemy.table(
            "xcom",
            *(sqlalchemy.column(name) for name in ("dag_run_id", "task_id", "map_index", "key")),
            sqlalchemy.column("dag_id"),
            sqlalchemy.column("run_id"),
            sqlalchemy.column("timestamp", sqlalchemy.DateTime(timezone=True)),
            sqlalchemy.column("value", self._json()),
        )
        self._text: ColumnElement[str] = sqlalchemy.cast(self._table.c.value, sqlalchemy.Text)

    def __repr__(self) -> str:
        return f"Database({self.dialect})"

    @property
    def _where(self) -> str:
        return f"the metadata database ({self.dialect})"

    def close(self) -> None:
        """Close what is open."""
        self._engine.dispose()

    # --- reading --------------------------------------------------------------------------------------------

    def rows(
        self, after: Position | None = None, *, page: int = PAGE_ROWS, dag_id: str | None = None
    ) -> Iterator[StoredRow]:
        """Yield every row in the order of its position, page by page; concurrent changes may be missed.

        :param after: the position to continue after; :param dag_id: only rows of this DAG.
        :raises DatabaseFailed: the database does not answer.
        """
        for rows in self.pages(after, page=page, dag_id=dag_id):
            yield from rows

    def pages(
        self, after: Position | None = None, *, page: int = PAGE_ROWS, dag_id: str | None = None
    ) -> Iterator[list[StoredRow]]:
        """Yield `rows`, one page at a time."""
        while True:
            query = self._select().order_by(*(self._table.c[name] for name in _KEY)).limit(page)
            if dag_id is not None:
                query = query.where(self._table.c.dag_id == dag_id)
            if after is not None:
                query = query.where(self._behind(after))
            with self._connected() as connection:
                rows = [self._row(record) for record in connection.execute(query)]
            if rows:
                yield rows
                after = rows[-1].position
            if len(rows) < page:
                return

    def of_tasks(self, tasks: Iterable[tuple[str, str, str, int]]) -> Iterator[StoredRow]:
        """Yield the rows of task instances, each given as DAG id, run id, task id and map index."""
        import sqlalchemy

        columns = sqlalchemy.tuple_(*(self._table.c[name] for name in _IDS[:4]))
        wanted = list(dict.fromkeys(tasks))
        for start in range(0, len(wanted), _TASKS_AT_ONCE):
            query = self._select().where(columns.in_(wanted[start : start + _TASKS_AT_ONCE]))
            with self._connected() as connection:
                found = [self._row(record) for record in connection.execute(query)]
            yield from found

    def one(self, position: Position) -> StoredRow | None:
        """Return the current row, or None."""
        with self._connected() as connection:
            record = connection.execute(self._select().where(self._at(position))).first()
        return None if record is None else self._row(record)

    def at(self, coordinate: Coordinate) -> StoredRow | None:
        """Return the row of a coordinate with its text, however long; None where there is no such row."""
        # A task instance may have any number of rows, whoever wrote them.
        query = self._select().where(*(self._table.c[name] == getattr(coordinate, name) for name in _IDS))
        with self._connected() as connection:
            rows = [self._row(record) for record in connection.execute(query)]
        row = next((row for row in rows if row.position.key == coordinate.key), None)
        return replace(row, text=self.whole_text(row.position)) if row and row.text is None else row

    def whole_text(self, position: Position) -> str | None:
        """Return a row's text, however long; None where there is no such row."""
        import sqlalchemy

        with self._connected() as connection:
            text = connection.execute(sqlalchemy.select(self._text).where(self._at(position))).scalar()
        return None if text is None else str(text)

    def object_of(self, position: Position) -> str | None:
        """Return the object that a row names which is too long to be read; the database looks it up.

        None where it names none, or does not have the tag of a reference.
        """
        import sqlalchemy
        from sqlalchemy.exc import DBAPIError

        named = self._table.c.value["head"]["object"].as_string()
        tagged = self._table.c.value[TAG].as_string().is_not(None)
        try:
            with self._engine.connect() as connection:
                found = connection.execute(sqlalchemy.select(named).where(self._at(position), tagged)).scalar()
        except DBAPIError as error:
            # SQLite refuses to query text that is not JSON, such as a NaN that Python wrote.
            if "malformed" in str(error.orig).lower():
                return None
            raise failed(error, "reading a long row") from None
        return None if found is None else str(found)

    def count(self) -> int:
        """Return how many rows there are, for a progress bar."""
        import sqlalchemy

        with self._connected() as connection:
            return int(
                connection.execute(
                    sqlalchemy.select(sqlalchemy.func.count()).select_from(self._table)
                ).scalar_one()
            )

    def tables(self) -> list[str]:
        """Return the names of all tables."""
        import sqlalchemy

        with self._connected() as connection:
            return sorted(sqlalchemy.inspect(connection).get_table_names())

    def size_of(self, table: str) -> int | None:
        """Return how many rows another table has; None without the right to read it.

        :param table: one of `tables`.
        """
        import sqlalchemy
        from sqlalchemy.exc import DBAPIError

        query = sqlalchemy.select(sqlalchemy.func.count()).select_from(sqlalchemy.table(table))
        try:
            with self._engine.connect() as connection:
                return int(connection.execute(query).scalar_one())
        except DBAPIError:
            # Maintenance needs no right on tables other than the documented ones.
            return None

    def task_state(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> str | None:
        """Return the state of a task instance now; None where there is none, or no state yet."""
        import sqlalchemy

        names = ("dag_id", "run_id", "task_id", "map_index")
        table = sqlalchemy.table("task_instance", *map(sqlalchemy.column, (*names, "state")))
        values = zip(names, (dag_id, run_id, task_id, map_index), strict=True)
        query = sqlalchemy.select(table.c.state).where(*(table.c[name] == value for name, value in values))
        with self._connected() as connection:
            state = connection.execute(query).scalar()
        return None if state is None else str(state)

    def logged_xcom_bodies(self) -> int:
        """Return how many events of Airflow's table ``log`` hold the body of a REST write of an XCom."""
        import sqlalchemy
        from sqlalchemy.exc import DBAPIError

        table = sqlalchemy.table("log", sqlalchemy.column("event"), sqlalchemy.column("extra"))
        query = (
            sqlalchemy.select(sqlalchemy.func.count())
            .select_from(table)
            .where(table.c.event.in_(("create_xcom_entry", "update_xcom_entry")))
            .where(table.c.extra.like('%"value"%'))
        )
        try:
            with self._engine.connect() as connection:
                return int(connection.execute(query).scalar_one())
        except DBAPIError:
            # Maintenance needs no right on this table.
            return 0

    def stored_connections(self, conn_ids: Sequence[str]) -> dict[str, bool | None] | None:
        """Return which connections are in Airflow's own table, and whether each has a password or an extra.

        :returns: None for a connection of which only the id may be read; None for all where nothing may be read.
        """
        import sqlalchemy
        from sqlalchemy.exc import DBAPIError

        table = sqlalchemy.table("connection", *map(sqlalchemy.column, ("conn_id", "password", "extra")))
        kept = sqlalchemy.or_(
            sqlalchemy.func.coalesce(table.c.password, "") != "", sqlalchemy.func.coalesce(table.c.extra, "") != ""
        )
        for columns in ((table.c.conn_id, kept), (table.c.conn_id,)):
            query = sqlalchemy.select(*columns).where(table.c.conn_id.in_(conn_ids))
            try:
                with self._engine.connect() as connection:
                    rows = connection.execute(query).all()
            except DBAPIError:
                # Maintenance needs no right on this table; one on the ids is enough.
                continue
            return {str(row[0]): bool(row[1]) if len(row) > 1 else None for row in rows}
        return None

    # --- changing -------------------------------------------------------------------------------------------

    def replace(self, row: StoredRow, value: Any) -> bool:
        """Replace the value of a row if it has not changed since it was read: compare and swap.

        :param row: as it was read, with its text.
        :returns: whether it did; False where a task has changed or deleted the row meanwhile.
        :raises ValueNotKept: the database cannot store this value.
        """
        import sqlalchemy

        statement = sqlalchemy.update(self._table).where(self._same(row)).values(value=value)
        with translated(self._where), of_a_value(row.where), self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def delete(self, row: StoredRow) -> bool:
        """Delete a row if it has not changed since it was read."""
        import sqlalchemy

        with self._connected() as connection:
            return connection.execute(sqlalchemy.delete(self._table).where(self._same(row))).rowcount == 1

    # --- the statements' parts ------------------------------------------------------------------------------

    def _json(self) -> Any:
        import sqlalchemy
        from sqlalchemy.dialects import postgresql

        return sqlalchemy.JSON().with_variant(postgresql.JSONB(), "postgresql")

    def _select(self) -> Any:
        import sqlalchemy

        size = sqlalchemy.func.length(self._text)
        short = sqlalchemy.case((size <= TEXT_MAX_CHARACTERS, self._text), else_=None)
        ids = [self._table.c[name] for name in ("dag_run_id", *_IDS)]
        return sqlalchemy.select(*ids, short, sqlalchemy.func.coalesce(size, 0), self._table.c.timestamp)

    def _behind(self, after: Position) -> ColumnElement[bool]:
        """Return the condition for rows after a position, as a row comparison: PostgreSQL and SQLite use the key.

        MySQL uses an index only where the comparison is spelled out, PostgreSQL only where it is not.
        """
        import sqlalchemy

        columns = [self._table.c[name] for name in _KEY]
        if self.dialect not in ("mysql", "mariadb"):
            values = [sqlalchemy.literal(value, column.type) for value, column in zip(after, columns, strict=True)]
            return sqlalchemy.tuple_(*columns) > sqlalchemy.tuple_(*values)
        ways = [
            sqlalchemy.and_(
                *(column == value for column, value in zip(columns[:depth], after[:depth], strict=True)),
                columns[depth] > after[depth],
            )
            for depth in range(len(_KEY))
        ]
        return sqlalchemy.and_(columns[0] >= after[0], sqlalchemy.or_(*ways))

    def _at(self, position: Position) -> ColumnElement[bool]:
        import sqlalchemy

        return sqlalchemy.and_(*(self._table.c[name] == getattr(position, name) for name in _KEY))

    def _same(self, row: StoredRow) -> ColumnElement[bool]:
        import sqlalchemy

        if row.text is None:
            raise DatabaseFailed("a row can be changed only after its text was read", where=row.where)
        if self.dialect in ("mysql", "mariadb"):
            # MySQL's usual collations ignore case.
            binary = sqlalchemy.LargeBinary()
            same = sqlalchemy.cast(self._text, binary) == sqlalchemy.cast(sqlalchemy.literal(row.text), binary)
            return sqlalchemy.and_(self._at(row.position), same)
        return sqlalchemy.and_(self._at(row.position), self._text == row.text)

    def _row(self, record: Sequence[Any]) -> StoredRow:
        dag_run_id, dag_id, run_id, task_id, map_index, key, text, size, timestamp = record
        if timestamp is not None and timestamp.tzinfo is None:
            # SQLite and MySQL store no time zone, and Airflow writes UTC.
            timestamp = timestamp.replace(tzinfo=timezone.utc)
        return StoredRow(Position(dag_run_id, task_id, map_index, key), dag_id, run_id, text, size, timestamp)

    def transaction(self, doing: str) -> AbstractContextManager[Connection]:
        """Return a transaction in the same database, for a table of our own.

        :param doing: for errors.
        """
        return _transaction(self._engine, f"{doing} ({self.dialect})")

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with translated(self._where), self._engine.begin() as connection:
            yield connection


@contextmanager
def _transaction(engine: Engine, where: str) -> Iterator[Connection]:
    with translated(where), engine.connect() as connection:
        yield connection
        connection.commit()

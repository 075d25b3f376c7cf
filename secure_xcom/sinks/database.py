"""The database sink: one row per event, written with a grant to INSERT and nothing else.

    db://CONN_ID                                the Airflow connection's database (postgres, mysql, sqlite)
    db+postgresql://user@host:5432/audit        a SQLAlchemy URL behind ``db+``; db+sqlite:////path/audit.db

Options: ``table=NAME`` (``secure_xcom_events``), ``optional=true``; all others go to the driver. An administrator
creates the table with `DDL` (docs/reference/access-log.md); the worker's user needs ``INSERT`` on it. Keep a
password in the Airflow connection or in the driver's own file (``~/.pgpass``), not in the URI. The database
must store UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from secure_xcom.connections.sql import (
    FORM,
    ProcessEngine,
    database_url,
    driver_error_name,
    is_duplicate_key,
    make_engine,
)
from secure_xcom.core.errors import AuditError, ExtraMissing, UriInvalid
from secure_xcom.core.event import Line
from secure_xcom.core.event_fields import FIELDS
from secure_xcom.sinks.sink_uri import SinkUri

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Engine

TABLE = "secure_xcom_events"

# Column -> the field of the event, and for an object field the property, that it holds.
_SOURCES: dict[str, tuple[str, ...]] = {
    column: (name,) if column == name else (name, column)
    for name, field in FIELDS.items()
    for column in field.columns
}
_COLUMNS = (*_SOURCES, "line")


def _definitions() -> Iterator[str]:
    for column, (name, *_) in _SOURCES.items():
        constraint = " PRIMARY KEY" if column == "id" else ""
        required = " NOT NULL" if FIELDS[name].always else ""
        yield f"{column} {FIELDS[name].columns[column]}{required}{constraint}"
    yield "line TEXT NOT NULL"


DDL = f"CREATE TABLE {TABLE} (\n    " + ",\n    ".join(_definitions()) + "\n)\n"
"""The table. ``line`` is the event as it was written; the other columns are parts of it, to search by."""

# How long a silent database is waited for, unless the URI says otherwise.
_WAIT_SECONDS = 10


class DatabaseSink:
    """Insert each batch in one transaction. The Airflow connection is resolved once, when the sink is made.

    :raises UriInvalid: the URI does not name a database.
    :raises ConfigurationError: the connection, SQLAlchemy or the driver is missing.
    """

    costly = False

    def __init__(self, uri: SinkUri) -> None:
        self.uri = uri.shown
        options = dict(uri.options)
        self.table = options.pop("table", TABLE)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", self.table):
            raise UriInvalid("the option table is not a plain name", where=uri.where, remedy=FORM)
        self._url = _url(uri, options)
        self._engine = ProcessEngine(self._make_engine)
        from sqlalchemy.exc import ArgumentError

        try:
            # This does not connect yet; it only checks that the driver is installed.
            self.engine()
        except ArgumentError:
            raise UriInvalid("the text after db+ is not a SQLAlchemy URL", where=uri.where, remedy=FORM) from None

    def write(self, lines: Sequence[Line]) -> None:
        """Insert the events, all or none. Rows of an earlier insert whose answer was lost are left as they are.

        Without events, an INSERT of no rows checks that this user has the right to insert.

        :raises AuditError: the database did not accept them.
        """
        import sqlalchemy
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError

        rows = [_row(line) for line in lines]
        table = sqlalchemy.table(self.table, *(sqlalchemy.column(name) for name in _COLUMNS))
        for attempt in (1, 2):
            try:
                return self._insert(table, rows)
            except DBAPIError as error:
                if error.connection_invalidated and attempt == 1:
                    # The server closed the connection since the last event; a new connection may succeed.
                    continue
                raise self._error(error) from None
            except SQLAlchemyError as error:
                raise self._error(error) from None
        return None

    def _insert(self, table: Any, rows: Sequence[dict[str, Any]]) -> None:
        import sqlalchemy
        from sqlalchemy.exc import IntegrityError

        if not rows:
            no_rows = sqlalchemy.select(*(sqlalchemy.null() for _ in _COLUMNS)).where(sqlalchemy.false())
            with self.engine().begin() as connection:
                connection.execute(sqlalchemy.insert(table).from_select(list(_COLUMNS), no_rows))
            return
        try:
            with self.engine().begin() as connection:
                connection.execute(sqlalchemy.insert(table), list(rows))
        except IntegrityError as error:
            if not is_duplicate_key(error):
                raise
            if len(rows) == 1:
                # The id is new and cannot be guessed, so this process wrote the row and lost the answer.
                return
            for row in rows:
                self._insert(table, [row])

    def engine(self) -> Engine:
        """Return this process's connection pool.

        :raises ExtraMissing: the driver is not installed.
        """
        return self._engine.get()

    def _make_engine(self) -> Engine:
        try:
            return make_engine(self._url, pool="one", sqlite_wait=_WAIT_SECONDS, server_wait=_WAIT_SECONDS)
        except ImportError as error:
            raise ExtraMissing(
                f"the database's driver cannot be imported ({error.name})",
                where=f"sink URI {self.uri}",
                remedy="install it on this worker",
            ) from None

    def _error(self, error: Exception) -> AuditError:
        # A driver's message may repeat rows and addresses; its class tells a missing right from a lost connection.
        return AuditError(
            f"the database did not accept the event ({driver_error_name(error)})",
            where=self.uri,
            remedy="check that the database answers, that it has the table from docs/reference/access-log.md, and "
            "that this worker's user may INSERT into it",
        )


def _row(line: Line) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for column, (name, *rest) in _SOURCES.items():
        value = line.record.get(name)
        cells[column] = (value or {}).get(rest[0]) if rest else value
    return {**cells, "line": line.data.decode()}


def _url(uri: SinkUri, options: dict[str, str]) -> URL:
    if uri.scheme == "db" and not re.fullmatch(r"db://[\w.-]{1,250}", uri.place, re.ASCII):
        raise UriInvalid("the text after db:// is not a connection id", where=uri.where, remedy=FORM)
    return database_url(uri.place, where=uri.where).update_query_dict(options)

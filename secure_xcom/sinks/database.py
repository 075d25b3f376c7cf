"""The database sink: one row per event, written with a grant to INSERT and nothing else.

    db://CONN_ID                                the Airflow connection's database (postgres, mysql, sqlite)
    db+postgresql://user@host:5432/audit        a SQLAlchemy URL behind ``db+``; db+sqlite:////path/audit.db

Options: ``table=NAME`` (``secure_xcom_events``), ``optional=true``; others are the driver's. The table is made
by an administrator with `DDL` (docs/audit.md); the worker's user needs ``INSERT`` on it. A password belongs in
the Airflow connection, or in the driver's own file (``~/.pgpass``), rather than in the URI. The database must
store UTF-8.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from secure_xcom.connections.sql import FORM, database_url, with_driver
from secure_xcom.core.errors import AuditError, ExtraMissing, UriInvalid
from secure_xcom.core.event import Line
from secure_xcom.sinks.sink_uri import SinkUri

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Engine

TABLE = "secure_xcom_events"

DDL = """\
CREATE TABLE secure_xcom_events (
    id CHAR(36) NOT NULL PRIMARY KEY,
    time CHAR(27) NOT NULL,
    action VARCHAR(20) NOT NULL,
    outcome VARCHAR(10) NOT NULL,
    dag_id VARCHAR(400),
    run_id VARCHAR(400),
    task_id VARCHAR(400),
    compartment VARCHAR(400),
    chain CHAR(36) NOT NULL,
    sequence BIGINT NOT NULL,
    line TEXT NOT NULL
)
"""
"""The table. ``line`` is the event as it was written; the other columns are parts of it, to search by."""

_COLUMNS = (
    "id",
    "time",
    "action",
    "outcome",
    "dag_id",
    "run_id",
    "task_id",
    "compartment",
    "chain",
    "sequence",
    "line",
)
# The time that a database without an answer may take, where the URI does not say: seconds.
_PATIENCE = {"postgresql": ("connect_timeout", 10), "mysql": ("connect_timeout", 10), "sqlite": ("timeout", 10)}


class DatabaseSink:
    """Inserts each batch in one transaction. Asks for the connection once, on the thread that makes it.

    :raises UriInvalid: the URI is no database's.
    :raises ConfigurationError: the connection, SQLAlchemy or the driver is not there.
    """

    dear = False

    def __init__(self, uri: SinkUri) -> None:
        self.uri = uri.shown
        options = dict(uri.options)
        self.table = options.pop("table", TABLE)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", self.table):
            raise UriInvalid("the table's name is no plain name", where=f"sink URI {self.uri}", remedy=FORM)
        self._made: Engine | None = None
        self._pid = 0
        self._url = with_driver(_url(uri, options))
        from sqlalchemy.exc import ArgumentError

        try:
            # It connects to nothing yet, and finds out whether the driver is there.
            self.engine()
        except ArgumentError:
            raise UriInvalid(
                "not a SQLAlchemy URL behind db+", where=f"sink URI {self.uri}", remedy=FORM
            ) from None

    def write(self, lines: Sequence[Line]) -> None:
        """Insert the events, all or none. What stands there already, of an insert without an answer, is left.

        Without events, an INSERT of no row asks whether this user may.

        :raises AuditError: the database did not take them.
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
                    # The server went away since the last event: a new connection may find it again.
                    continue
                raise self._error(error) from None
            except SQLAlchemyError as error:
                raise self._error(error) from None
        return None

    def _insert(self, table: Any, rows: Sequence[dict[str, Any]]) -> None:
        import sqlalchemy
        from sqlalchemy.exc import IntegrityError

        if not rows:
            nothing = sqlalchemy.select(*(sqlalchemy.null() for _ in _COLUMNS)).where(sqlalchemy.false())
            with self.engine().begin() as connection:
                connection.execute(sqlalchemy.insert(table).from_select(list(_COLUMNS), nothing))
            return
        try:
            with self.engine().begin() as connection:
                connection.execute(sqlalchemy.insert(table), list(rows))
        except IntegrityError as error:
            if not _is_there(error.orig):
                raise
            if len(rows) == 1:
                # The id is new and cannot be guessed, so who wrote it was this process, whose answer got lost.
                return
            for row in rows:
                self._insert(table, [row])

    def engine(self) -> Engine:
        """The connections of this process.

        :raises ExtraMissing: the driver is not there.
        """
        import sqlalchemy

        if self._made is None or self._pid != os.getpid():
            if self._made is not None:
                # The parent's connections are its own to close.
                self._made.dispose(close=False)
            option = _PATIENCE.get(self._url.get_backend_name())
            given = option is not None and option[0] in self._url.query
            arguments: dict[str, object] = {} if option is None or given else {option[0]: option[1]}
            if self._url.get_backend_name() == "sqlite":
                # The access log lets one thread write at a time, but not always the same one.
                arguments["check_same_thread"] = False
            try:
                self._made = sqlalchemy.create_engine(
                    self._url,
                    # Named, so that a connection to SQLite is kept as well, whatever the release of SQLAlchemy.
                    poolclass=sqlalchemy.pool.QueuePool,
                    pool_size=1,
                    max_overflow=0,
                    hide_parameters=True,
                    connect_args=arguments,
                )
            except ImportError as error:
                raise ExtraMissing(
                    f"the database's driver cannot be imported ({error.name})",
                    where=f"sink URI {self.uri}",
                    remedy="install it on this worker",
                ) from None
            self._pid = os.getpid()
        return self._made

    def _error(self, error: Exception) -> AuditError:
        # A driver's text repeats rows and addresses; its class says whether it was a right or the connection.
        cause = getattr(error, "orig", None)
        name = type(cause).__name__ if cause is not None else type(error).__name__
        return AuditError(
            f"the database takes no event ({name})",
            where=self.uri,
            remedy="see that it answers, has the table of docs/audit.md, and that this worker's user may INSERT",
        )


def _is_there(error: object) -> bool:
    """Whether a driver's error is that of a key that is there already, and of no other constraint."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state:
        # PostgreSQL's unique_violation.
        return bool(state == "23505")
    arguments = getattr(error, "args", ())
    # MySQL's ER_DUP_ENTRY; SQLite has no code for Python 3.10.
    return bool(arguments[:1] == (1062,)) or str(error).startswith("UNIQUE constraint failed")


def _row(line: Line) -> dict[str, Any]:
    record, producer = line.record, line.record.get("producer") or {}
    known = {name: record.get(name, producer.get(name)) for name in _COLUMNS[:-1]}
    return {**known, "line": line.data.decode()}


def _url(uri: SinkUri, options: dict[str, str]) -> URL:
    where = f"sink URI {uri.shown:.120}"
    if uri.scheme == "db" and not re.fullmatch(r"db://[\w.-]{1,250}", uri.place, re.ASCII):
        raise UriInvalid("what stands behind db:// is not a connection id", where=where, remedy=FORM)
    return database_url(uri.place, where=where).update_query_dict(options)

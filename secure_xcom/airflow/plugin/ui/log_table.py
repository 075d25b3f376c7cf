"""The access log in a database, read as a user who may only SELECT."""

from __future__ import annotations

import threading
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from secure_xcom.airflow.plugin.ui.cursors import decoded, encoded
from secure_xcom.airflow.plugin.ui.log_events import Event, Found, Search
from secure_xcom.core.operator_errors import AccessLogUnreadable
from secure_xcom.sinks.database import DatabaseSink
from secure_xcom.sinks.sink_uri import SinkUri

_PAGE = 500
_PAGES_MAX = 10
_MILLISECONDS = 3_000
"""What one statement may take, where the database can be told."""

_SINKS: dict[str, DatabaseSink] = {}
_LOCK = threading.Lock()
_REMEDY = (
    "give the user of [secure_xcom] ui_audit_url SELECT on the table, and create the index that "
    "docs/reference/access-log.md shows"
)


def search(uri: str, wanted: Search, *, after: str | None, limit: int) -> Found:
    """Return an XCom's events, newest first.

    :param after: the ``next`` of the answer before.
    :raises AccessLogUnreadable: the table cannot be read; :raises RequestInvalid: ``after`` is no position.
    """
    parts = decoded(after, (str, str))
    position = None if parts is None else (str(parts[0]), str(parts[1]))
    events: list[Event] = []
    read, back_to = 0, None
    for _ in range(_PAGES_MAX):
        rows = _rows(uri, wanted, position)
        for time, number, line in rows:
            read += len(line)
            event = wanted.event(line.encode())
            if event is not None and len(events) == limit:
                return Found(events, None if position is None else encoded(position), read, back_to)
            back_to, position = time, (time, number)
            if event is not None:
                events.append(event)
        if len(rows) < _PAGE:
            return Found(events, None, read, back_to)
    return Found(events, None if position is None else encoded(position), read, back_to)


def _rows(uri: str, wanted: Search, position: tuple[str, str] | None) -> list[tuple[str, str, str]]:
    sink = _sink(uri)
    names = ("id", "time", "dag_id", "run_id", "task_id", "line")
    table = sa.table(sink.table, *(sa.column(name, sa.String) for name in names))
    query = (
        sa.select(table.c.time, table.c.id, table.c.line)
        .where(table.c.dag_id == wanted.at.dag_id, table.c.run_id == wanted.at.run_id)
        .where(table.c.task_id == wanted.at.task_id, table.c.time >= wanted.since)
        .order_by(table.c.time.desc(), table.c.id.desc())
        .limit(_PAGE)
    )
    if position is not None:
        time, number = position
        query = query.where(sa.or_(table.c.time < time, sa.and_(table.c.time == time, table.c.id < number)))
    try:
        with _LOCK, sink.engine().connect() as connection:
            _bound(connection)
            return [(str(time), str(number), str(line)) for time, number, line in connection.execute(query)]
    except SQLAlchemyError as error:
        cause = type(getattr(error, "orig", None) or error).__name__
        raise AccessLogUnreadable(
            f"the table of the access log cannot be read ({cause})", where=sink.uri, remedy=_REMEDY
        ) from None


def _sink(uri: str) -> DatabaseSink:
    with _LOCK:
        if uri not in _SINKS:
            _SINKS.clear()
            _SINKS[uri] = DatabaseSink(SinkUri.parse(uri))
        return _SINKS[uri]


def _bound(connection: Any) -> None:
    """Let no statement run for long: the table has an index only where somebody has made it."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SET LOCAL statement_timeout = {_MILLISECONDS}"))
        connection.execute(sa.text("SET TRANSACTION READ ONLY"))
    elif connection.dialect.name == "mysql":
        connection.execute(sa.text(f"SET SESSION max_execution_time = {_MILLISECONDS}"))

"""Airflow's metadata database from outside of Airflow: its URL, its schema, and what is beside XComs.

A task process of Airflow 3 has no access to the metadata database, so maintenance has a database URL of its own:
the environment's ``SECURE_XCOM_DB``, by default Airflow's ``[database] sql_alchemy_conn``. The URL holds a
password: it is never taken from the arguments of a process, and never printed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from secure_xcom.connections.sql import make_engine, shown_url
from secure_xcom.core.operator_errors import DatabaseUnknown
from secure_xcom.ops.xcom_table_errors import URL_PLACE, refuse_a_missing_file, translated

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection, Engine

    from secure_xcom.connections.sql.airflow_tables import Schema

ENVIRONMENT = "SECURE_XCOM_DB"
# SQLite takes 32,766 parameters in a statement, and older builds of it 999.
TASKS_AT_ONCE = 200
_ENDED = ("success", "failed")


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


class AirflowDatabase:
    """Airflow's metadata database. Every statement is a short transaction, so no task ever waits long for it.

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

    def __repr__(self) -> str:
        return f"Database({self.dialect})"

    @property
    def where(self) -> str:
        """The database, for errors."""
        return f"the metadata database ({self.dialect})"

    def revision(self) -> str | None:
        """Return the revision of Airflow's migrations; None where this user may not read it.

        :raises DatabaseFailed: the database cannot be reached.
        """
        from secure_xcom.connections.sql.airflow_tables import revision_of

        with self.connected() as connection:
            return revision_of(connection)

    @cached_property
    def schema(self) -> Schema:
        """The schema of Airflow's tables.

        :raises TablesUnknown: this release does not know it.
        """
        from secure_xcom.connections.sql.airflow_tables import schema_of

        with self.connected() as connection:
            return schema_of(connection)

    def close(self) -> None:
        """Close what is open."""
        self._engine.dispose()

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Open a transaction for Airflow's tables."""
        with translated(self.where), self._engine.begin() as connection:
            yield connection

    def transaction(self, doing: str) -> AbstractContextManager[Connection]:
        """Return a transaction in the same database, for a table of our own.

        :param doing: for errors.
        """
        return _transaction(self._engine, f"{doing} ({self.dialect})")

    # --- runs and task instances ----------------------------------------------------------------------------

    def task_states(
        self, dag_id: str, run_id: str, task_id: str, map_index: int, *, iteration: int | None = None
    ) -> list[str | None]:
        """Return the states of a task instance now: one, none, or in a loop one for each iteration.

        :param iteration: of a task without a map index, the only iteration that is asked for.
        """
        import sqlalchemy

        from secure_xcom.connections.sql.airflow_tables import ATTEMPT, REGION, TASK, Schema
        from secure_xcom.connections.sql.xcom_rows import public_map_index

        if self.schema is Schema.COORDINATES:
            table = TASK
            index: ColumnElement[int] = TASK.c.map_index
            query = sqlalchemy.select(table.c.state)
        else:
            table, index = ATTEMPT, public_map_index()
            region = sqlalchemy.and_(REGION.c.id == table.c.region_id, REGION.c.node_id == table.c.task_id)
            query = sqlalchemy.select(table.c.state).select_from(table.outerjoin(REGION, region))
            query = query.where(table.c.working_set.is_(True))
            if iteration is not None and map_index < 0:
                query = query.where(table.c.region_index == iteration)
        ids = (table.c.dag_id == dag_id, table.c.run_id == run_id, table.c.task_id == task_id)
        with self.connected() as connection:
            return list(connection.execute(query.where(*ids, index == map_index)).scalars())

    def ended_runs(self, runs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], datetime | None]:
        """Return which of these DAG runs have ended, and when. A run that is not there is not among them.

        :param runs: DAG id and run id.
        """
        import sqlalchemy

        from secure_xcom.connections.sql.airflow_tables import RUN

        wanted = list(dict.fromkeys(runs))
        ended: dict[tuple[str, str], datetime | None] = {}
        for start in range(0, len(wanted), TASKS_AT_ONCE):
            some = wanted[start : start + TASKS_AT_ONCE]
            query = sqlalchemy.select(RUN.c.dag_id, RUN.c.run_id, RUN.c.end_date).where(
                sqlalchemy.tuple_(RUN.c.dag_id, RUN.c.run_id).in_(some), RUN.c.state.in_(_ENDED)
            )
            with self.connected() as connection:
                ended.update({(dag_id, run_id): end for dag_id, run_id, end in connection.execute(query)})
        return ended

    # --- other tables ---------------------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """Return the names of all tables."""
        import sqlalchemy

        with self.connected() as connection:
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

    def logged_xcom_bodies(self) -> int:
        """Return how many events of Airflow's table ``log`` hold the body of a REST write of an XCom."""
        import sqlalchemy
        from sqlalchemy.exc import DBAPIError

        from secure_xcom.connections.sql.airflow_tables import LOG, REST_WRITES

        query = (
            sqlalchemy.select(sqlalchemy.func.count())
            .select_from(LOG)
            .where(LOG.c.event.in_(REST_WRITES))
            # From 3.4 on Airflow masks the value.
            .where(LOG.c.extra.like('%"value"%'), LOG.c.extra.not_like('%"value": "***"%'))
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


@contextmanager
def _transaction(engine: Engine, where: str) -> Iterator[Connection]:
    with translated(where), engine.connect() as connection:
        yield connection
        connection.commit()

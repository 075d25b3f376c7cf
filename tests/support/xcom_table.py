"""Rows with XComs in a database of a test's own, in either schema, with the tables that Airflow makes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy
from sqlalchemy.dialects import mysql, postgresql

from secure_xcom.connections.sql.airflow_tables import PLACE, RegionId, Schema
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.ops.xcom_table import Database
from tests.support.airflow_schema import make_tables

_JSON = sqlalchemy.JSON().with_variant(postgresql.JSONB(), "postgresql")
_TIME = sqlalchemy.DateTime(timezone=True)
_TOP = uuid.UUID(int=0)
_NAMES = {
    "dag_run", "task_instance", "xcom", "xcom_v1", "xcom_v2", "legacy_task_data_owner", "dynamic_region",
}  # fmt: skip


@dataclass
class XComTable:
    """The rows, for tests to write and look at."""

    url: str
    schema: Schema = Schema.COORDINATES

    def __post_init__(self) -> None:
        self.engine = sqlalchemy.create_engine(self.url)
        new = make_tables(self.engine, self.schema)
        # A new SQLite file always has the same tables, and reading them takes longer than most tests do.
        own = new and self.engine.dialect.name == "sqlite"
        self.tables = _tables_in_sqlite(self.schema) if own else _reflected(self.engine)
        self.runs: dict[tuple[str, str], int] = {}
        self.attempts: dict[tuple[str, str, str, int], uuid.UUID] = {}
        """The live attempt of each task instance."""

    def database(self) -> Database:
        """What is tested, on these tables."""
        return Database(self.url)

    # --- as Airflow's API server does -----------------------------------------------------------------------

    def put(self, at: Coordinate, value: Any) -> None:
        """Write an XCom, or write over it."""
        self.put_many([(at, value)])

    def put_many(self, rows: Iterable[tuple[Coordinate, Any]]) -> None:
        """Write many in one transaction."""
        with self.engine.begin() as connection:
            for at, value in rows:
                if self.schema is Schema.COORDINATES:
                    self._put_by_coordinate(connection, "xcom", at, value)
                    continue
                attempt = self._attempt(connection, at)
                table = self.tables.tables["xcom_v2"]
                here = (table.c.task_instance_id == attempt) & (table.c.key == at.key)
                connection.execute(table.delete().where(here))
                row = {"id": uuid.uuid4(), "task_instance_id": attempt, "key": at.key, "value": value}
                connection.execute(table.insert().values(**row, timestamp=_now()))

    def put_before_upgrade(self, at: Coordinate, value: Any) -> None:
        """Write an XCom of Airflow 3.3 into the tables of Airflow 3.4."""
        with self.engine.begin() as connection:
            attempt = self._attempt(connection, at)
            owner = self.tables.tables["legacy_task_data_owner"]
            place = {name: getattr(at, name) for name in PLACE}
            here = sqlalchemy.and_(*(owner.c[name] == value for name, value in place.items()))
            if connection.execute(sqlalchemy.select(owner).where(here)).first() is None:
                connection.execute(owner.insert().values(**place, task_instance_id=attempt))
            self._put_by_coordinate(connection, "xcom_v1", at, value)

    def retry(self, at: Coordinate) -> None:
        """Archive the live attempt of a task instance, as a retry and a clearing do."""
        table = self.tables.tables["task_instance"]
        with self.engine.begin() as connection:
            archived = self._attempt(connection, at)
            connection.execute(table.update().where(table.c.id == archived).values(working_set=None))
            self.attempts.pop((*at.of_task, at.map_index))
            self._attempt(connection, at)

    def iterate(self, at: Coordinate, region: uuid.UUID, index: int, value: Any) -> None:
        """Write an XCom of an iteration of a loop, which has no map index of its own."""
        with self.engine.begin() as connection:
            attempt = self._new_attempt(connection, at, region, index)
            row = {"id": uuid.uuid4(), "task_instance_id": attempt, "key": at.key, "value": value}
            connection.execute(self.tables.tables["xcom_v2"].insert().values(**row, timestamp=_now()))

    def set_run(self, at: Coordinate, state: str, end_date: datetime | None = None) -> None:
        """Set the state of a DAG run."""
        table = self.tables.tables["dag_run"]
        with self.engine.begin() as connection:
            number = self._run(at)
            connection.execute(table.delete().where(table.c.id == number))
            row = {"id": number, "dag_id": at.dag_id, "run_id": at.run_id, "state": state, "end_date": end_date}
            connection.execute(table.insert().values({**_needed(table), **row}))

    def set_run_state(self, at: Coordinate, state: str, end_date: datetime | None = None) -> None:
        """Change the state of a DAG run that is there, whose rows others refer to."""
        table = self.tables.tables["dag_run"]
        here = (table.c.dag_id == at.dag_id) & (table.c.run_id == at.run_id)
        with self.engine.begin() as connection:
            connection.execute(table.update().where(here).values(state=state, end_date=end_date))

    def set_state(self, at: Coordinate, state: str) -> None:
        """Set the state of a task instance, once an XCom of it was put."""
        table = self.tables.tables["task_instance"]
        with self.engine.begin() as connection:
            if self.schema is Schema.ATTEMPTS:
                here = table.c.id == self._attempt(connection, at)
                connection.execute(table.update().where(here).values(state=state))
                return
            # Airflow 3.1 keeps it as text.
            number = uuid.uuid4() if isinstance(table.c.id.type, sqlalchemy.Uuid) else str(uuid.uuid4())
            row = {**_needed(table), "id": number, "dag_id": at.dag_id, "run_id": at.run_id}
            row |= {"task_id": at.task_id, "map_index": at.map_index, "state": state}
            connection.execute(table.insert().values(row))

    def delete(self, at: Coordinate) -> None:
        """Delete an XCom as Airflow's REST API and `airflow db clean` do: past the backend."""
        with self.engine.begin() as connection:
            if self.schema is Schema.COORDINATES:
                connection.execute(self._coordinate("xcom").delete().where(self._at("xcom", at)))
                return
            table = self.tables.tables["xcom_v2"]
            attempt = self._attempt(connection, at)
            connection.execute(table.delete().where(table.c.task_instance_id == attempt, table.c.key == at.key))
            connection.execute(self._coordinate("xcom_v1").delete().where(self._at("xcom_v1", at)))

    # --- to look at -----------------------------------------------------------------------------------------

    def value(self, at: Coordinate) -> Any:
        """The value that Airflow shows; None where there is no row."""
        with self.engine.begin() as connection:
            if self.schema is Schema.COORDINATES:
                return self._value(connection, "xcom", at)
            table = self.tables.tables["xcom_v2"]
            here = (table.c.task_instance_id == self._attempt(connection, at)) & (table.c.key == at.key)
            row = connection.execute(sqlalchemy.select(table.c.value).where(here)).first()
            return row[0] if row is not None else self._value(connection, "xcom_v1", at)

    def value_before_upgrade(self, at: Coordinate) -> Any:
        """The value of Airflow 3.3, which another may hide."""
        with self.engine.begin() as connection:
            return self._value(connection, "xcom_v1", at)

    def values(self) -> list[Any]:
        """All values."""
        values = []
        with self.engine.begin() as connection:
            for name in ("xcom", "xcom_v1", "xcom_v2"):
                if name in self.tables.tables:
                    query = sqlalchemy.select(self.tables.tables[name].c.value)
                    values += [row[0] for row in connection.execute(query)]
        return values

    def write_text(self, text: str) -> None:
        """Write a text that need not be JSON into every row."""
        name = "xcom" if self.schema is Schema.COORDINATES else "xcom_v2"
        table = sqlalchemy.table(name, sqlalchemy.column("value", sqlalchemy.Text))
        with self.engine.begin() as connection:
            connection.execute(table.update().values(value=text))

    def execute(self, statement: str, parameters: Sequence[dict[str, Any]] = ()) -> None:
        """One statement of SQL, for what a test breaks on purpose."""
        with self.engine.begin() as connection:
            connection.execute(sqlalchemy.text(statement), list(parameters) or None)

    def close(self) -> None:
        """Close what is open."""
        self.engine.dispose()

    # --- parts ----------------------------------------------------------------------------------------------

    def _run(self, at: Coordinate) -> int:
        return self.runs.setdefault((at.dag_id, at.run_id), len(self.runs) + 1)

    def _coordinate(self, name: str) -> sqlalchemy.Table:
        return self.tables.tables[name]

    def _put_by_coordinate(self, connection: Any, name: str, at: Coordinate, value: Any) -> None:
        table = self._coordinate(name)
        connection.execute(table.delete().where(self._at(name, at)))
        row = {"dag_run_id": self._run(at), **{column: getattr(at, column) for column in (*PLACE, "key")}}
        connection.execute(table.insert().values(**row, value=value, timestamp=_now()))

    def _attempt(self, connection: Any, at: Coordinate) -> uuid.UUID:
        task = (*at.of_task, at.map_index)
        if task not in self.attempts:
            live = self._live(connection, at)
            self.attempts[task] = live or self._new_attempt(connection, at, _TOP, at.map_index)
        return self.attempts[task]

    def _live(self, connection: Any, at: Coordinate) -> uuid.UUID | None:
        table = self.tables.tables["task_instance"]
        ids = (table.c.dag_id == at.dag_id, table.c.run_id == at.run_id, table.c.task_id == at.task_id)
        query = sqlalchemy.select(table.c.id).where(
            *ids, table.c.region_id == _TOP, table.c.region_index == at.map_index, table.c.working_set.is_(True)
        )
        live: uuid.UUID | None = connection.execute(query).scalar()
        return live

    def _new_attempt(self, connection: Any, at: Coordinate, region: uuid.UUID, index: int) -> uuid.UUID:
        table = self.tables.tables["task_instance"]
        ids = (table.c.dag_id == at.dag_id, table.c.run_id == at.run_id, table.c.task_id == at.task_id)
        place = (table.c.region_id == region, table.c.region_index == index)
        tries = connection.execute(sqlalchemy.select(sqlalchemy.func.count()).where(*ids, *place)).scalar_one()
        attempt = uuid.uuid4()
        row = {**_needed(table), "id": attempt, "dag_id": at.dag_id, "run_id": at.run_id, "task_id": at.task_id}
        row |= {"region_id": region, "region_index": index, "try_number": tries + 1, "working_set": True}
        connection.execute(table.insert().values(row))
        return attempt

    def _value(self, connection: Any, name: str, at: Coordinate) -> Any:
        table = self._coordinate(name)
        return connection.execute(sqlalchemy.select(table.c.value).where(self._at(name, at))).scalar()

    def _at(self, name: str, at: Coordinate) -> sqlalchemy.ColumnElement[bool]:
        names = ("dag_id", "run_id", "task_id", "map_index", "key")
        return sqlalchemy.and_(*(self._coordinate(name).c[column] == getattr(at, column) for column in names))


@cache
def _tables_in_sqlite(schema: Schema) -> sqlalchemy.MetaData:
    with TemporaryDirectory() as folder:
        engine = sqlalchemy.create_engine(f"sqlite:///{folder}/airflow.db")
        make_tables(engine, schema)
        tables = _reflected(engine)
        engine.dispose()
    return tables


def _reflected(engine: sqlalchemy.Engine) -> sqlalchemy.MetaData:
    """Return the tables of a database, with types as Airflow declares them."""
    there = set(sqlalchemy.inspect(engine).get_table_names())
    tables = sqlalchemy.MetaData()
    tables.reflect(engine, only=sorted(_NAMES & there), resolve_fks=False)
    for table in tables.tables.values():
        for column in table.columns:
            column.type = _kind(column)
    return tables


def _kind(column: sqlalchemy.Column[Any]) -> Any:
    """Return a column's type as Airflow declares it: SQLite and reflection know fewer."""
    if column.name in ("value", "conf") or isinstance(column.type, sqlalchemy.JSON | postgresql.JSONB):
        return _JSON if column.name == "value" else sqlalchemy.JSON()
    if isinstance(column.type, mysql.BINARY):
        return RegionId()
    if isinstance(column.type, sqlalchemy.CHAR | sqlalchemy.Uuid):
        return sqlalchemy.Uuid()
    return _TIME if isinstance(column.type, sqlalchemy.TIMESTAMP | sqlalchemy.DateTime) else column.type


def _needed(table: sqlalchemy.Table) -> dict[str, Any]:
    """Return a value for each column that Airflow always fills."""
    return {
        column.name: _filler(column.type)
        for column in table.columns
        if not column.nullable and column.server_default is None
    }


def _filler(kind: Any) -> Any:
    if isinstance(kind, sqlalchemy.Boolean):
        return False
    if isinstance(kind, sqlalchemy.Integer | sqlalchemy.Numeric):
        return 1
    if isinstance(kind, sqlalchemy.DateTime):
        return _now()
    if isinstance(kind, sqlalchemy.Uuid):
        return uuid.uuid4()
    return {} if isinstance(kind, sqlalchemy.JSON) else "x"


def _now() -> datetime:
    return datetime.now(timezone.utc)


def as_stored(value: Any) -> Any:
    """A value as it comes back from a JSON column."""
    return json.loads(json.dumps(value))

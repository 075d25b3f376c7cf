"""Airflow's table ``xcom`` in a database of a test's own, as its model defines it, and no other table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from sqlalchemy.dialects import postgresql

from secure_xcom.core.coordinate import Coordinate
from secure_xcom.ops.xcom_table import Database

_METADATA = sqlalchemy.MetaData()
# Column by column what airflow/models/xcom.py has; tests/e2e run the same commands on Airflow's own.
TABLE = sqlalchemy.Table(
    "xcom",
    _METADATA,
    sqlalchemy.Column("dag_run_id", sqlalchemy.Integer, primary_key=True),
    sqlalchemy.Column("task_id", sqlalchemy.String(250), primary_key=True),
    sqlalchemy.Column("map_index", sqlalchemy.Integer, primary_key=True, server_default="-1"),
    sqlalchemy.Column("key", sqlalchemy.String(512), primary_key=True),
    sqlalchemy.Column("dag_result", sqlalchemy.Boolean),
    sqlalchemy.Column("dag_id", sqlalchemy.String(250), nullable=False),
    sqlalchemy.Column("run_id", sqlalchemy.String(250), nullable=False),
    sqlalchemy.Column("value", sqlalchemy.JSON().with_variant(postgresql.JSONB(), "postgresql")),
    sqlalchemy.Column("timestamp", sqlalchemy.DateTime(timezone=True), server_default=sqlalchemy.func.now()),
    sqlalchemy.Index("idx_xcom_task_instance", "dag_id", "task_id", "run_id", "map_index"),
)


@dataclass
class XComTable:
    """The table, for tests to write rows into and look at."""

    url: str

    def __post_init__(self) -> None:
        self.engine = sqlalchemy.create_engine(self.url)
        _METADATA.create_all(self.engine)
        self.runs: dict[tuple[str, str], int] = {}

    def database(self) -> Database:
        """What is tested, on this table."""
        return Database(self.url)

    def put(self, at: Coordinate, value: Any) -> None:
        """Write a row, or write over it, as Airflow's API server does."""
        self.put_many([(at, value)])

    def put_many(self, rows: Iterable[tuple[Coordinate, Any]]) -> None:
        """Write many rows in one transaction."""
        with self.engine.begin() as connection:
            for at, value in rows:
                run = self.runs.setdefault((at.dag_id, at.run_id), len(self.runs) + 1)
                connection.execute(TABLE.delete().where(self._at(at)))
                connection.execute(
                    TABLE.insert().values(
                        dag_run_id=run,
                        dag_id=at.dag_id,
                        run_id=at.run_id,
                        task_id=at.task_id,
                        map_index=at.map_index,
                        key=at.key,
                        value=value,
                    )
                )

    def delete(self, at: Coordinate) -> None:
        """Delete a row as Airflow's REST API and `airflow db clean` do: past the backend."""
        with self.engine.begin() as connection:
            connection.execute(TABLE.delete().where(self._at(at)))

    def value(self, at: Coordinate) -> Any:
        """A row's value; None where there is no row."""
        with self.engine.begin() as connection:
            return connection.execute(sqlalchemy.select(TABLE.c.value).where(self._at(at))).scalar()

    def values(self) -> list[Any]:
        """All values."""
        with self.engine.begin() as connection:
            return [row[0] for row in connection.execute(sqlalchemy.select(TABLE.c.value))]

    def execute(self, statement: str, parameters: Sequence[dict[str, Any]] = ()) -> None:
        """One statement of SQL, for what a test breaks on purpose."""
        with self.engine.begin() as connection:
            connection.execute(sqlalchemy.text(statement), list(parameters) or None)

    def close(self) -> None:
        """Close what is open."""
        self.engine.dispose()

    def _at(self, at: Coordinate) -> sqlalchemy.ColumnElement[bool]:
        names = ("dag_id", "run_id", "task_id", "map_index", "key")
        return sqlalchemy.and_(*(TABLE.c[name] == getattr(at, name) for name in names))


def as_stored(value: Any) -> Any:
    """A value as it comes back from a JSON column."""
    return json.loads(json.dumps(value))

"""Rows of Airflow's own tables, written past Airflow, for tests of the page in its UI."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa

from secure_xcom.core.coordinate import Coordinate

NOW = datetime(2026, 12, 1, 8, tzinfo=timezone.utc)


class AirflowRows:
    """A migrated metadata database, to write rows into. Columns that nobody names get a value of their kind.

    :param url: SQLAlchemy URL.
    """

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url)
        self._tables = sa.MetaData()
        names = [
            "dag", "dag_bundle", "dag_run", "task_instance", "xcom", "log", "dag_bundle_team", "team",
        ]  # fmt: skip
        there = sa.inspect(self.engine).get_table_names()
        self._tables.reflect(self.engine, only=[name for name in names if name in there])
        self._runs: dict[tuple[str, str], int] = {}
        self._tasks: set[tuple[str, str, str, int]] = set()

    def add(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows of a table."""
        table = self._tables.tables[name]
        needed = {
            column.name: _filler(column)
            for column in table.columns
            if not column.nullable and column.server_default is None and column.name != "id"
        }
        with self.engine.begin() as connection:
            connection.execute(table.insert(), [{**needed, **row} for row in rows])

    def dag(self, dag_id: str, *, bundle: str = "dags-folder", team: str | None = None) -> None:
        """Make a DAG, its bundle, and the team that the bundle belongs to."""
        with self.engine.begin() as connection:
            bundles = self._tables.tables["dag_bundle"]
            known = connection.execute(sa.select(bundles.c.name).where(bundles.c.name == bundle)).first()
        if known is None:
            self.add("dag_bundle", [{"name": bundle, "active": True}])
            if team is not None:
                self.add("team", [{"name": team}])
                self.add("dag_bundle_team", [{"dag_bundle_name": bundle, "team_name": team}])
        self.add(
            "dag", [{"dag_id": dag_id, "bundle_name": bundle, "is_stale": False, "partition_mapper_info": {}}]
        )

    def run(self, dag_id: str, run_id: str, run_after: datetime = NOW) -> int:
        """Make a run, once; return its number."""
        if (dag_id, run_id) not in self._runs:
            number = len(self._runs) + 1
            row = {"id": number, "dag_id": dag_id, "run_id": run_id, "run_after": _stored(run_after)}
            self.add("dag_run", [row])
            self._runs[dag_id, run_id] = number
        return self._runs[dag_id, run_id]

    def task(self, at: Coordinate) -> None:
        """Make a task instance, once."""
        known = (*at.of_task, at.map_index)
        if known not in self._tasks:
            self._tasks.add(known)
            row = {"id": uuid.uuid4().hex, "dag_id": at.dag_id, "run_id": at.run_id, "task_id": at.task_id}
            self.add("task_instance", [{**row, "map_index": at.map_index, "state": "success", "try_number": 1}])

    def put(self, at: Coordinate, value: Any, *, text: str | None = None, timestamp: datetime = NOW) -> None:
        """Write an XCom, and its run and task instance where they are not there.

        :param text: the value as the database keeps it, where that is no JSON that Python would write.
        """
        number = self.run(at.dag_id, at.run_id)
        self.task(at)
        row = {
            "dag_run_id": number, "dag_id": at.dag_id, "run_id": at.run_id, "task_id": at.task_id,
            "map_index": at.map_index, "key": at.key, "timestamp": _stored(timestamp), "value": value,
        }  # fmt: skip
        self.add("xcom", [row])
        if text is not None:
            query = sa.text(
                "UPDATE xcom SET value = :text WHERE dag_run_id = :run AND task_id = :task AND key = :key"
            )
            with self.engine.begin() as connection:
                connection.execute(query, {"text": text, "run": number, "task": at.task_id, "key": at.key})

    def replace(self, at: Coordinate, value: Any) -> None:
        """Write over an XCom's value."""
        table, number = self._tables.tables["xcom"], self._runs[at.dag_id, at.run_id]
        here = (
            (table.c.dag_run_id == number)
            & (table.c.task_id == at.task_id)
            & (table.c.map_index == at.map_index)
            & (table.c.key == at.key)
        )
        with self.engine.begin() as connection:
            connection.execute(table.update().where(here).values(value=value))

    def rest_write(self, at: Coordinate, user: str, body: Any, time: datetime = NOW) -> None:
        """Write the event that Airflow keeps of a REST write."""
        row = {
            "event": "create_xcom_entry", "owner": user, "dttm": _stored(time), "dag_id": at.dag_id,
            "run_id": at.run_id, "task_id": at.task_id, "extra": json.dumps(body),
        }  # fmt: skip
        self.add("log", [row])

    def close(self) -> None:
        """Close what is open."""
        self.engine.dispose()


def _stored(time: datetime) -> datetime:
    return time.astimezone(timezone.utc).replace(tzinfo=None)


def _filler(column: sa.Column[Any]) -> Any:
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return False
    if isinstance(kind, sa.Integer | sa.Numeric):
        return 1
    if isinstance(kind, sa.DateTime | sa.TIMESTAMP):
        return _stored(NOW)
    return {} if isinstance(kind, sa.JSON) else "x"

"""The tables of Airflow 3.4: XComs belong to an attempt, and those of earlier releases lie in another table.

``xcom_v2`` has the XComs of attempts, ``xcom_v1`` those from before the upgrade, whose attempts
``legacy_task_data_owner`` names; a row of the first hides one of the second with the same attempt and key
(airflow/models/xcom.py). ``task_instance`` has a row for each attempt; the live one has ``working_set``.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy.dialects import mysql, postgresql

from secure_xcom.airflow.plugin.ui import values
from secure_xcom.airflow.plugin.ui.stored import Attempt, Attempts, Narrow, Place, Run, StoredXCom
from secure_xcom.airflow.plugin.ui.tables import Tables
from secure_xcom.core.errors import RequestInvalid

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
# MySQL keeps it as BINARY(16) (airflow/utils/sqlalchemy.py, CompactUUID).
_REGION = sa.Uuid().with_variant(mysql.BINARY(16), "mysql", "mariadb")
TASK = sa.table(
    "task_instance",
    sa.column("id", sa.Uuid()),
    sa.column("dag_id", sa.String),
    sa.column("run_id", sa.String),
    sa.column("task_id", sa.String),
    sa.column("region_index", sa.Integer),
    sa.column("region_id", _REGION),
    sa.column("try_number", sa.Integer),
    sa.column("working_set", sa.Boolean),
)
V2 = sa.table(
    "xcom_v2",
    sa.column("task_instance_id", sa.Uuid()),
    sa.column("key", sa.String),
    sa.column("value", _JSON),
    sa.column("timestamp", UtcDateTime()),
)
_PLACE = ("dag_id", "task_id", "run_id", "map_index")
V1 = sa.table(
    "xcom_v1",
    *(sa.column(name) for name in _PLACE),
    sa.column("key", sa.String),
    sa.column("value", _JSON),
    sa.column("timestamp", UtcDateTime()),
)
OWNER = sa.table(
    "legacy_task_data_owner", *(sa.column(name) for name in _PLACE), sa.column("task_instance_id", sa.Uuid())
)
_TOP = UUID(int=0)
"""The region of tasks of no loop and no expansion (airflow/models/dynamic_region.py, SENTINEL_REGION_ID)."""


class Tables34(Tables):
    """The tables of Airflow 3.4."""

    def runs_with(self, key: str) -> set[int] | None:  # noqa: ARG002  # no index is by the key alone
        """See `Tables.runs_with`: a key has no index of its own here."""
        return None

    def attempts(self, _run: Run, _wanted: Narrow) -> list[tuple[Attempt, int]]:
        """Return the tries of a task instance, the live one first, and how many XComs each has."""
        run, wanted = _run, _wanted
        rows = self._union(run, Narrow(wanted.task_id, wanted.map_index), whole=False).subquery()
        counts = sa.select(rows.c.attempt, sa.func.count().label("xcoms")).group_by(rows.c.attempt).subquery()
        query = (
            _narrowed(sa.select(*_ATTEMPT, sa.func.coalesce(counts.c.xcoms, 0)), run, wanted, every=True)
            .outerjoin(counts, counts.c.attempt == TASK.c.id)
            .order_by(TASK.c.working_set.desc(), TASK.c.try_number.desc(), TASK.c.id.desc())
            .limit(_ATTEMPTS_MAX)
        )
        return [(_attempt(*record[:-1]), int(record[-1])) for record in self._session.execute(query)]

    def _of_run(self, run: Run, wanted: Narrow, after: Place | None, *, whole: bool = True) -> Any:
        rows = self._union(run, wanted, whole=whole).subquery()
        query = sa.select(rows)
        if not whole:
            return query
        order = (rows.c.task_id, rows.c.map_index, rows.c.key, rows.c.attempt)
        if after is not None:
            query = query.where(
                values.behind(
                    order, (after.task_id, after.map_index, after.key, _uuid(after.attempt)), self._dialect
                )
            )
        return query.order_by(*order)

    def _union(self, run: Run, wanted: Narrow, *, whole: bool) -> Any:
        new = _narrowed(self._select(run, V2, whole=whole), run, wanted).join(
            V2, V2.c.task_instance_id == TASK.c.id
        )
        same = sa.and_(*(V1.c[name] == OWNER.c[name] for name in _PLACE))
        hidden = sa.select(sa.literal(1)).where(V2.c.task_instance_id == TASK.c.id, V2.c.key == V1.c.key).exists()
        old = (
            _narrowed(self._select(run, V1, whole=whole), run, wanted)
            .join(OWNER, OWNER.c.task_instance_id == TASK.c.id)
            .join(V1, same)
            .where(~hidden.correlate(TASK, V1))
        )
        if wanted.key is not None:
            new, old = new.where(wanted.key.clause(V2.c.key)), old.where(wanted.key.clause(V1.c.key))
        return sa.union_all(new, old)

    def _select(self, run: Run, table: Any, *, whole: bool) -> Any:
        columns = [
            sa.literal(run.id).label("dag_run_id"),
            TASK.c.task_id,
            TASK.c.region_index.label("map_index"),
            table.c.key,
            TASK.c.id.label("attempt"),
        ]
        if whole:
            columns += [
                values.text(table.c.value, self._dialect).label("text"),
                values.tagged(table.c.value, self._dialect).label("tagged"),
                table.c.timestamp,
                *_ATTEMPT[1:],
            ]
        return sa.select(*columns).select_from(TASK)

    def _rows(self, query: Any, runs: dict[int, Run]) -> list[StoredXCom]:
        found = []
        for number, task_id, index, key, ti, text, tagged, written, *rest in self._session.execute(query):
            place = Place(task_id, index, key, ti.hex)
            found.append(StoredXCom(runs[number], place, text, bool(tagged), written, _attempt(ti, *rest)))
        return found


_ATTEMPTS_MAX = 100
_ATTEMPT = (TASK.c.id, TASK.c.try_number, TASK.c.working_set, TASK.c.region_id, TASK.c.region_index)


def _narrowed(query: Any, run: Run, wanted: Narrow, *, every: bool = False) -> Any:
    """Return a query of task instances, narrowed to those that are asked for.

    :param every: whatever the try.
    """
    query = query.where(TASK.c.dag_id == run.dag_id, TASK.c.run_id == run.run_id)
    if wanted.task_id is not None:
        query = query.where(wanted.task_id.clause(TASK.c.task_id))
    if wanted.map_index is not None:
        query = query.where(TASK.c.region_index == wanted.map_index)
    asked = wanted.attempts
    if asked is None or every:
        return query
    if asked == Attempts():
        return query.where(TASK.c.working_set.is_(True))
    for column, value in (
        (TASK.c.id, asked.ti_id),
        (TASK.c.try_number, asked.try_number),
        (TASK.c.region_id, asked.region_id),
        (TASK.c.region_index, asked.region_index),
    ):
        if value is not None:
            query = query.where(column == value)
    return query


def _attempt(ti: UUID, try_number: int, working_set: bool | None, region: Any, index: int) -> Attempt:
    region_id = region if isinstance(region, UUID) else UUID(bytes=bytes(region))
    return Attempt(str(ti), try_number, bool(working_set), None if region_id == _TOP else str(region_id), index)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise RequestInvalid("`after` is not what an answer gave as `next`", where="after") from None

"""Every row with an XCom, as one list over the tables of a schema: also those that Airflow does not show any more.

From Airflow 3.4 on these are the rows of archived attempts, and those of ``xcom_v1`` that a row of ``xcom_v2``
hides. Whoever looks for what is stored, or destroys it, reads all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

from secure_xcom.connections.sql.airflow_tables import (
    ATTEMPT,
    OWNER,
    REGION,
    TOP_REGION,
    XCOM,
    XCOM_V1,
    XCOM_V2,
    Schema,
    hidden,
    owned,
)
from secure_xcom.connections.sql.positions import AttemptPosition, Position, TaskPosition

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


@dataclass(frozen=True, eq=False)
class RowSource:
    """One table with XComs.

    :ivar table: the table, whose rows are changed.
    :ivar origin: the table, joined with what says whose a row is.
    :ivar keys: the columns of a position. The table has a unique index on them.
    :ivar ids: DAG id, run id, task id and map index.
    :ivar attempt: the id of the task instance; :ivar live: whether it is the current one of its task.
    :ivar hidden: the condition that Airflow does not show a row, because another table has a later one of it.
    """

    table: sa.TableClause
    origin: sa.FromClause
    keys: tuple[ColumnElement[Any], ...]
    ids: tuple[ColumnElement[Any], ...]
    attempt: ColumnElement[Any]
    live: ColumnElement[Any]
    hidden: ColumnElement[bool] | None = None

    @cached_property
    def text(self) -> ColumnElement[str]:
        """The value as JSON text."""
        return sa.cast(self.table.c.value, sa.Text)

    def select(self, longest: int) -> sa.Select[Any]:
        """Return the query for what `StoredRow` has, in its order.

        :param longest: characters; a longer text is not read.
        """
        size = sa.func.length(self.text)
        short = sa.case((size <= longest, self.text), else_=None)
        columns = (*self.keys, *self.ids, self.attempt, self.live, short, sa.func.coalesce(size, 0))
        return sa.select(*columns, self.table.c.timestamp).select_from(self.origin)

    def at(self, position: Position) -> ColumnElement[bool]:
        """Return the condition for the row at a position."""
        return sa.and_(*(column == value for column, value in zip(self.keys, self._bound(position), strict=True)))

    def behind(self, position: Position, dialect: str) -> ColumnElement[bool]:
        """Return the condition for the rows after a position."""
        return behind(self.keys, self._bound(position), dialect)

    def behind_any(self, dialect: str) -> ColumnElement[bool]:
        """Return the condition for the rows after a position that each execution gives: see `parameters`.

        To build a query takes as long as to read a hundred rows.
        """
        names = [sa.bindparam(f"after_{index}", type_=column.type) for index, column in enumerate(self.keys)]
        return behind(self.keys, names, dialect)

    def parameters(self, position: Position) -> dict[str, Any]:
        """Return the parameters of `behind_any`."""
        return {f"after_{index}": part for index, part in enumerate(self._bound(position))}

    def of_tasks(self, tasks: Sequence[tuple[str, str, str, int]]) -> list[ColumnElement[bool]]:
        """Return the conditions, one for each query, for task instances: DAG id, run id, task id, map index."""
        return [sa.tuple_(*self.ids).in_(tasks)]

    def position(self, record: Sequence[Any]) -> Position:
        """Return the position in the first columns of a row that `select` gave."""
        return TaskPosition(*record[: len(self.keys)])

    def _bound(self, position: Position) -> tuple[Any, ...]:
        return tuple(position)


class _ByAttempt(RowSource):
    """``xcom_v2``, whose rows have the coordinates of their attempt."""

    def of_tasks(self, tasks: Sequence[tuple[str, str, str, int]]) -> list[ColumnElement[bool]]:
        """See `RowSource.of_tasks`. Only columns that an index of ``task_instance`` has narrow the search."""
        # A task without a map index may be in a loop, which numbers its iterations.
        plain = list(dict.fromkeys(task[:3] for task in tasks if task[3] < 0))
        mapped = [task for task in tasks if task[3] >= 0]
        ids = (ATTEMPT.c.dag_id, ATTEMPT.c.run_id, ATTEMPT.c.task_id)
        conditions = []
        if plain:
            conditions.append(sa.and_(sa.tuple_(*ids).in_(plain), self.ids[3] < 0))
        if mapped:
            conditions.append(sa.and_(sa.tuple_(*ids, ATTEMPT.c.region_index).in_(mapped), self.ids[3] >= 0))
        return conditions

    def position(self, record: Sequence[Any]) -> Position:
        """See `RowSource.position`."""
        return AttemptPosition(str(record[0]), record[1])

    def _bound(self, position: Position) -> tuple[Any, ...]:
        return (UUID(str(position[0])), position.key)


def behind(columns: Sequence[Any], after: Sequence[Any], dialect: str) -> ColumnElement[bool]:
    """Return the condition to stand behind a position in the order of columns.

    MySQL uses an index only where the comparison is spelled out, and PostgreSQL only where it is not.
    """
    if dialect not in ("mysql", "mariadb"):
        bound = [
            part if isinstance(part, sa.BindParameter) else sa.literal(part, column.type)
            for part, column in zip(after, columns, strict=True)
        ]
        return sa.tuple_(*columns) > sa.tuple_(*bound)
    ways = [
        sa.and_(*(columns[index] == after[index] for index in range(depth)), columns[depth] > after[depth])
        for depth in range(len(columns))
    ]
    return sa.and_(columns[0] >= after[0], sa.or_(*ways))


def public_map_index() -> ColumnElement[int]:
    """Return the map index of an attempt that is joined with its region: -1 for an iteration of a loop.

    Source: airflow/models/task_coordinates.py, public_map_index_expression.
    """
    mapped = sa.or_(
        ATTEMPT.c.region_id == sa.literal(TOP_REGION, ATTEMPT.c.region_id.type), REGION.c.id.is_not(None)
    )
    return sa.case((mapped, ATTEMPT.c.region_index), else_=-1)


def _coordinates(table: sa.TableClause) -> tuple[ColumnElement[Any], ...]:
    return (table.c.dag_id, table.c.run_id, table.c.task_id, table.c.map_index)


def _keys(table: sa.TableClause) -> tuple[ColumnElement[Any], ...]:
    return tuple(table.c[name] for name in TaskPosition._fields)


def _by_schema() -> dict[Schema, tuple[RowSource, ...]]:
    none: ColumnElement[Any] = sa.null()
    before = RowSource(XCOM, XCOM, _keys(XCOM), _coordinates(XCOM), none, sa.true())
    # Outer joins: a row whose owner is not known is one all the same.
    with_owner = XCOM_V1.outerjoin(OWNER, owned()).outerjoin(ATTEMPT, ATTEMPT.c.id == OWNER.c.task_instance_id)
    owner = OWNER.c.task_instance_id
    old = RowSource(
        XCOM_V1, with_owner, _keys(XCOM_V1), _coordinates(XCOM_V1), owner, ATTEMPT.c.working_set, hidden(owner)
    )
    region = sa.and_(REGION.c.id == ATTEMPT.c.region_id, REGION.c.node_id == ATTEMPT.c.task_id)
    with_attempt = XCOM_V2.join(ATTEMPT, ATTEMPT.c.id == XCOM_V2.c.task_instance_id).outerjoin(REGION, region)
    keys = (XCOM_V2.c.task_instance_id, XCOM_V2.c.key)
    ids = (ATTEMPT.c.dag_id, ATTEMPT.c.run_id, ATTEMPT.c.task_id, public_map_index())
    new = _ByAttempt(XCOM_V2, with_attempt, keys, ids, ATTEMPT.c.id, ATTEMPT.c.working_set)
    # The order matters to whoever goes on after a position: one of three releases ago is in the first table.
    return {Schema.COORDINATES: (before,), Schema.ATTEMPTS: (old, new)}


SOURCES = _by_schema()
"""The tables with XComs of each schema, in the order in which they are read."""

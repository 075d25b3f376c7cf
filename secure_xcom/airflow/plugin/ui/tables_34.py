"""The tables of Airflow 3.4: XComs belong to an attempt, and those of earlier releases lie in another table.

`secure_xcom.connections.sql.airflow_tables` describes them. The page shows what Airflow shows.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from secure_xcom.airflow.plugin.ui import values
from secure_xcom.airflow.plugin.ui.stored import Attempt, Attempts, Narrow, Place, Run, StoredXCom
from secure_xcom.airflow.plugin.ui.tables import Tables
from secure_xcom.connections.sql.airflow_tables import ATTEMPT, OWNER, TOP_REGION, XCOM_V1, XCOM_V2, hidden, owned
from secure_xcom.connections.sql.xcom_rows import behind
from secure_xcom.core.operator_errors import RequestInvalid


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
            _narrowed(sa.select(*_COLUMNS, sa.func.coalesce(counts.c.xcoms, 0)), run, wanted, every=True)
            .outerjoin(counts, counts.c.attempt == ATTEMPT.c.id)
            .order_by(ATTEMPT.c.working_set.desc(), ATTEMPT.c.try_number.desc(), ATTEMPT.c.id.desc())
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
                behind(order, (after.task_id, after.map_index, after.key, _uuid(after.attempt)), self._dialect)
            )
        return query.order_by(*order)

    def _union(self, run: Run, wanted: Narrow, *, whole: bool) -> Any:
        new = _narrowed(self._select(run, XCOM_V2, whole=whole), run, wanted).join(
            XCOM_V2, XCOM_V2.c.task_instance_id == ATTEMPT.c.id
        )
        old = (
            _narrowed(self._select(run, XCOM_V1, whole=whole), run, wanted)
            .join(OWNER, OWNER.c.task_instance_id == ATTEMPT.c.id)
            .join(XCOM_V1, owned())
            .where(~hidden(ATTEMPT.c.id))
        )
        if wanted.key is not None:
            new, old = new.where(wanted.key.clause(XCOM_V2.c.key)), old.where(wanted.key.clause(XCOM_V1.c.key))
        return sa.union_all(new, old)

    def _select(self, run: Run, table: Any, *, whole: bool) -> Any:
        columns = [
            sa.literal(run.id).label("dag_run_id"),
            ATTEMPT.c.task_id,
            ATTEMPT.c.region_index.label("map_index"),
            table.c.key,
            ATTEMPT.c.id.label("attempt"),
        ]
        if whole:
            columns += [
                values.text(table.c.value, self._dialect).label("text"),
                values.tagged(table.c.value, self._dialect).label("tagged"),
                table.c.timestamp,
                *_COLUMNS[1:],
            ]
        return sa.select(*columns).select_from(ATTEMPT)

    def _rows(self, query: Any, runs: dict[int, Run]) -> list[StoredXCom]:
        rows = []
        for number, task_id, index, key, ti, text, tagged, written, *rest in self._session.execute(query):
            place = Place(task_id, index, key, ti.hex)
            rows.append(StoredXCom(runs[number], place, text, bool(tagged), written, _attempt(ti, *rest)))
        return rows


_ATTEMPTS_MAX = 100
_COLUMNS = (ATTEMPT.c.id, ATTEMPT.c.try_number, ATTEMPT.c.working_set, ATTEMPT.c.region_id, ATTEMPT.c.region_index)


def _narrowed(query: Any, run: Run, wanted: Narrow, *, every: bool = False) -> Any:
    """Return a query of task instances, narrowed to those that are asked for.

    :param every: whatever the try.
    """
    query = query.where(ATTEMPT.c.dag_id == run.dag_id, ATTEMPT.c.run_id == run.run_id)
    if wanted.task_id is not None:
        query = query.where(wanted.task_id.clause(ATTEMPT.c.task_id))
    if wanted.map_index is not None:
        query = query.where(ATTEMPT.c.region_index == wanted.map_index)
    attempts = wanted.attempts
    if attempts is None or every:
        return query
    if attempts == Attempts():
        return query.where(ATTEMPT.c.working_set.is_(True))
    for column, value in (
        (ATTEMPT.c.id, attempts.ti_id),
        (ATTEMPT.c.try_number, attempts.try_number),
        (ATTEMPT.c.region_id, attempts.region_id),
        (ATTEMPT.c.region_index, attempts.region_index),
    ):
        if value is not None:
            query = query.where(column == value)
    return query


def _attempt(ti: UUID, try_number: int, working_set: bool | None, region: UUID, index: int) -> Attempt:
    region_id = None if region == TOP_REGION else str(region)
    return Attempt(str(ti), try_number, bool(working_set), region_id, index)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise RequestInvalid("`after` is not the `next` of a response", where="after") from None

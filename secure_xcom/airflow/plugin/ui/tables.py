"""All that the page asks of Airflow's tables, for Airflow 3.1 to 3.3: `dag_run`, `task_instance`, `xcom`.

Every statement goes by an index of Airflow's own (airflow/models/xcom.py, dagrun.py): a run by its DAG and id or
by ``run_after``, an XCom by its primary key. Another schema gets a class of its own beside `Tables`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from secure_xcom.airflow.plugin.ui import values
from secure_xcom.airflow.plugin.ui.stored import Attempt, Narrow, Place, RestWrite, Run, StoredXCom, Wanted
from secure_xcom.connections.sql.airflow_tables import LOG, REST_WRITES, RUN, TASK, XCOM
from secure_xcom.connections.sql.xcom_rows import behind

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_REST_WRITES_MAX = 200
_RARE_MAX = 1_000
COUNT_MAX = 10_000
"""XComs of a task are counted up to here."""
ORDER = (XCOM.c.task_id, XCOM.c.map_index, XCOM.c.key)
"""The order of XComs within a run: the rest of the primary key."""


class Tables:
    """The tables of Airflow 3.1 to 3.3, on one session of the API server's."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name
        self._rest_writes: dict[tuple[int, str], list[RestWrite]] = {}

    # --- runs -----------------------------------------------------------------------------------------------

    def run(self, dag_id: str, run_id: str) -> Run | None:
        """Return a run by its ids."""
        query = _select_run().where(RUN.c.dag_id == dag_id, RUN.c.run_id == run_id)
        record = self._session.execute(query).first()
        return None if record is None else Run(*record)

    def has_task(self, run: Run, task_id: str) -> bool:
        """Return whether a run has instances of a task."""
        query = sa.select(sa.literal(1)).where(
            TASK.c.dag_id == run.dag_id, TASK.c.run_id == run.run_id, TASK.c.task_id == task_id
        )
        return self._session.execute(query.limit(1)).first() is not None

    def runs(
        self,
        dag_ids: Collection[str],
        *,
        run_id: Wanted | None,
        since: datetime | None,
        until: datetime | None,
        start: tuple[datetime, int] | None,
        limit: int,
        among: Collection[int] | None = None,
    ) -> list[Run]:
        """Return runs of these DAGs, those of the latest ``run_after`` first.

        :param start: the ``run_after`` and id of the run to begin with.
        :param among: the ids of the only runs that are asked for.
        """
        if not dag_ids or (among is not None and not among):
            return []
        query = _select_run().where(RUN.c.dag_id.in_(sorted(dag_ids)))
        if among is not None:
            query = query.where(RUN.c.id.in_(sorted(among)))
        if run_id is not None:
            query = query.where(run_id.clause(RUN.c.run_id))
        if since is not None:
            query = query.where(RUN.c.run_after >= since)
        if until is not None:
            query = query.where(RUN.c.run_after < until)
        if start is not None:
            after, number = start
            # The first condition alone is one that an index is used for.
            query = query.where(RUN.c.run_after <= after, sa.or_(RUN.c.run_after < after, RUN.c.id <= number))
        query = query.order_by(RUN.c.run_after.desc(), RUN.c.id.desc()).limit(limit)
        return [Run(*record) for record in self._session.execute(query)]

    def runs_with(self, key: str) -> set[int] | None:
        """Return the ids of the runs with an XCom of this key, None where it is in many rows.

        It is the one filter with an index of its own (``idx_xcom_key``), by which a rare key is found at once.
        """
        query = sa.select(XCOM.c.dag_run_id).where(XCOM.c.key == key).limit(_RARE_MAX + 1)
        numbers = [number for (number,) in self._session.execute(query)]
        return set(numbers) if len(numbers) <= _RARE_MAX else None

    # --- XComs ----------------------------------------------------------------------------------------------

    def of_task(self, run: Run, wanted: Narrow, *, after: Place | None, limit: int) -> list[StoredXCom]:
        """Return XComs of a run by task, map index and key."""
        return self._rows(self._of_run(run, wanted, after).limit(limit), {run.id: run})

    def count(self, run: Run, wanted: Narrow) -> int:
        """Return how many XComs there are; one more than `COUNT_MAX` where there are more."""
        some = self._of_run(run, wanted, None, whole=False).limit(COUNT_MAX + 1).subquery()
        return int(self._session.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())

    def attempts(self, _run: Run, _wanted: Narrow) -> list[tuple[Attempt, int]]:
        """Return the tries of a task instance and how many XComs each has: Airflow has them from 3.4 on."""
        return []

    def of_runs(self, runs: Sequence[Run], wanted: Narrow, *, after: Place | None, limit: int) -> list[StoredXCom]:
        """Return XComs of runs, run by run as they are given, by task, map index and key.

        :param after: where to go on in the first run.
        :param limit: of each run, at the most.
        """
        if not runs:
            return []
        # A part of a union with an order and a limit of its own must be a query of a query for SQLite.
        parts = [
            sa.select(self._of_run(run, wanted, None if number else after).limit(limit).subquery())
            for number, run in enumerate(runs)
        ]
        rows = self._rows(sa.union_all(*parts) if len(parts) > 1 else parts[0], {run.id: run for run in runs})
        order = {run.id: number for number, run in enumerate(runs)}
        # The database's collation decides on the order within a run, and a stable sort keeps it.
        return sorted(rows, key=lambda row: order[row.run.id])

    def _of_run(self, run: Run, wanted: Narrow, after: Place | None, *, whole: bool = True) -> Any:
        """Return the query for XComs of a run, in order; not whole: for counting, without values and order."""
        query: Any = _select_xcom(self._dialect) if whole else sa.select(XCOM.c.key)
        query = query.where(XCOM.c.dag_run_id == run.id)
        for column, text in ((XCOM.c.task_id, wanted.task_id), (XCOM.c.key, wanted.key)):
            if text is not None:
                query = query.where(text.clause(column))
        if wanted.map_index is not None:
            query = query.where(XCOM.c.map_index == wanted.map_index)
        if after is not None:
            query = query.where(behind(ORDER, (after.task_id, after.map_index, after.key), self._dialect))
        return query.order_by(*ORDER) if whole else query

    def _rows(self, query: Any, runs: dict[int, Run]) -> list[StoredXCom]:
        return [
            StoredXCom(runs[run], Place(task, index, key), text, bool(tagged), written)
            for run, task, index, key, text, tagged, written in self._session.execute(query)
        ]

    # --- what else Airflow knows ----------------------------------------------------------------------------

    def rest_writes(self, run: Run, task_id: str) -> list[RestWrite]:
        """Return Airflow's audit events of REST writes to a task's XComs, newest first; asked once per task."""
        if (run.id, task_id) not in self._rest_writes:
            self._rest_writes[run.id, task_id] = self._ask_rest_writes(run, task_id)
        return self._rest_writes[run.id, task_id]

    def _ask_rest_writes(self, run: Run, task_id: str) -> list[RestWrite]:
        extra = sa.case((sa.func.length(LOG.c.extra) <= values.TEXT_MAX, LOG.c.extra), else_=None)
        query = (
            sa.select(LOG.c.event, LOG.c.owner, LOG.c.dttm, extra)
            .where(LOG.c.dag_id == run.dag_id, LOG.c.task_id == task_id, LOG.c.run_id == run.run_id)
            .where(LOG.c.event.in_(REST_WRITES))
            .order_by(LOG.c.dttm.desc())
            .limit(_REST_WRITES_MAX)
        )
        return [RestWrite(*record) for record in self._session.execute(query)]


@cache
def _select_xcom(dialect: str) -> Any:
    """Return the select that every statement begins with: making it anew for each run took most of an answer."""
    return sa.select(
        XCOM.c.dag_run_id,
        XCOM.c.task_id,
        XCOM.c.map_index,
        XCOM.c.key,
        values.text(XCOM.c.value, dialect).label("text"),
        values.tagged(XCOM.c.value, dialect).label("tagged"),
        XCOM.c.timestamp,
    )


def _select_run() -> Any:
    return sa.select(RUN.c.id, RUN.c.dag_id, RUN.c.run_id, RUN.c.run_after)

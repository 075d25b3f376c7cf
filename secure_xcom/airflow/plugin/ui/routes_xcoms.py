"""The routes of the tab and of the page under Browse."""

from __future__ import annotations

from dataclasses import asdict

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter

from secure_xcom.airflow.plugin.ui import describing, knowing
from secure_xcom.airflow.plugin.ui.answers import Answer
from secure_xcom.airflow.plugin.ui.browsing import Filters, browse
from secure_xcom.airflow.plugin.ui.cursors import decoded, encoded
from secure_xcom.airflow.plugin.ui.knowing import Knowing
from secure_xcom.airflow.plugin.ui.looking import State, look
from secure_xcom.airflow.plugin.ui.parameters import (
    After,
    AnyMapIndex,
    AttemptsDep,
    Id,
    Key,
    Limit,
    MapIndex,
    Text,
    Time,
)
from secure_xcom.airflow.plugin.ui.permissions import READ_XCOMS, DagId, ReadableDags, ViewerDep
from secure_xcom.airflow.plugin.ui.stored import Narrow, Place, Wanted
from secure_xcom.airflow.plugin.ui.tables import COUNT_MAX
from secure_xcom.airflow.plugin.ui.times import time_of
from secure_xcom.core.operator_errors import XComNotFound

router = APIRouter()


@router.get("/dags/{dag_id}/task-instance", dependencies=[READ_XCOMS])
def task_instance(
    dag_id: DagId,
    run_id: Id,
    task_id: Id,
    session: SessionDep,
    viewer: ViewerDep,
    attempts: AttemptsDep,
    map_index: AnyMapIndex = None,
    key: Text = None,
    limit: Limit = 50,
    after: After = None,
) -> Answer:
    """Return the XComs of a task instance, or of all instances of a mapped task."""
    knowing = Knowing(session, viewer)
    run = knowing.run(dag_id, run_id)
    behind = decoded(after, (str, int, str, str), optional=1)
    place = None if behind is None else Place(*behind)  # type: ignore[arg-type]  # the kinds are checked
    wanted = Narrow(Wanted(task_id), map_index, Wanted(key) if key else None, attempts)
    rows = knowing.tables.of_task(run, wanted, after=place, limit=limit + 1)
    if not rows and place is None and not knowing.tables.has_task(run, task_id):
        raise XComNotFound("the run has no such task", where=task_id[:100])
    count = knowing.tables.count(run, wanted)
    return Answer(
        {
            "xcoms": [knowing.whole(look(row, knowing.deployment.policy)) for row in rows[:limit]],
            "next": encoded(rows[limit - 1].place.parts) if len(rows) > limit else None,
            "count": min(count, COUNT_MAX),
            "count_is_least": count > COUNT_MAX,
            "attempts": [
                {**asdict(attempt), "xcoms": xcoms} for attempt, xcoms in knowing.tables.attempts(run, wanted)
            ],
        }
    )


@router.get("/dags/{dag_id}/xcom", dependencies=[READ_XCOMS])
def xcom(
    dag_id: DagId,
    run_id: Id,
    task_id: Id,
    key: Key,
    session: SessionDep,
    viewer: ViewerDep,
    attempts: AttemptsDep,
    map_index: MapIndex = -1,
) -> Answer:
    """Return one XCom."""
    knowing = Knowing(session, viewer)
    return Answer(knowing.whole(knowing.one(dag_id, run_id, task_id, map_index, key, attempts)))


@router.get("/xcoms", dependencies=[READ_XCOMS])
def xcoms(
    session: SessionDep,
    viewer: ViewerDep,
    readable: ReadableDags,
    dag_id: Text = None,
    run_id: Text = None,
    task_id: Text = None,
    key: Text = None,
    compartment: Text = None,
    state: State | None = None,
    since: Time = None,
    until: Time = None,
    limit: Limit = 50,
    after: After = None,
) -> Answer:
    """Return XComs of the DAGs that this person may read, the newest runs first."""
    knowing = Knowing(session, viewer)
    filters = Filters(
        readable if not dag_id else readable & {dag_id},
        run_id=Wanted.of(run_id),
        task_id=Wanted.of(task_id),
        key=Wanted.of(key),
        compartment=compartment or None,
        state=state,
        since=time_of(since, "since"),
        until=time_of(until, "until"),
    )
    page = browse(knowing.tables, knowing.deployment.policy, filters, after=after, limit=limit)
    return Answer(
        {
            "xcoms": [describing.row(entry, knowing.deployment, knowing.newest) for entry in page.xcoms],
            "next": page.next,
            "looked": page.looked(),
        }
    )


@router.get("/about", dependencies=[READ_XCOMS])
def about(allowed: knowing.MaySeeCompartments) -> Answer:
    """Return what the page can show to this person."""
    return Answer(knowing.about(may_see_compartments=allowed))

"""The route that says who had an XCom."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter

from secure_xcom.airflow.plugin.ui.answers import Answer
from secure_xcom.airflow.plugin.ui.copyable_commands import search_command
from secure_xcom.airflow.plugin.ui.knowing import Knowing
from secure_xcom.airflow.plugin.ui.log_place import log_place
from secure_xcom.airflow.plugin.ui.looking import XCom
from secure_xcom.airflow.plugin.ui.parameters import After, AttemptsDep, Id, Key, Limit, MapIndex
from secure_xcom.airflow.plugin.ui.permissions import READ_XCOMS, DagId, ViewerDep
from secure_xcom.airflow.plugin.ui.times import time_of
from secure_xcom.airflow.plugin.ui.who_had_it import shown, who_had_it

router = APIRouter()


@router.get("/dags/{dag_id}/xcom/access", dependencies=[READ_XCOMS])
def access(
    dag_id: DagId,
    run_id: Id,
    task_id: Id,
    key: Key,
    session: SessionDep,
    viewer: ViewerDep,
    attempts: AttemptsDep,
    map_index: MapIndex = -1,
    limit: Limit = 50,
    after: After = None,
) -> Answer:
    """Return who had an XCom, newest first."""
    knowing = Knowing(session, viewer)
    xcom = knowing.one(dag_id, run_id, task_id, map_index, key, attempts)
    place, coordinate = log_place(), xcom.coordinate
    command = None if coordinate is None else search_command(coordinate)
    source = {"state": place.state, "text": place.text}
    if place.state == "unknown" or coordinate is None:
        looked = {"bytes": 0, "back_to": None, "all": False}
        return Answer({"events": [], "next": None, "source": source, "looked": looked, "search_command": command})
    events = who_had_it(place, coordinate, since=_pushed(xcom), after=after, limit=limit)
    return Answer(
        {
            "events": shown(events.events, viewer, dag_id),
            "next": events.next,
            "source": source,
            "looked": {"bytes": events.bytes, "back_to": events.back_to, "all": events.next is None},
            "search_command": command,
        }
    )


def _pushed(xcom: XCom) -> datetime:
    head = xcom.head
    time = xcom.stored.written if head is None else time_of(head.created, "created")
    return time or datetime(1, 1, 1, tzinfo=timezone.utc)

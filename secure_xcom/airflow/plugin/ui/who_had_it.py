"""Who had an XCom: its events in the access log, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from secure_xcom.airflow.plugin.ui import log_file, log_table
from secure_xcom.airflow.plugin.ui.log_events import Event, Found, Search
from secure_xcom.airflow.plugin.ui.log_place import LogPlace
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.pipeline.open_payload import SKEW

if TYPE_CHECKING:
    from secure_xcom.airflow.plugin.ui.permissions import Viewer


def who_had_it(
    place: LogPlace, coordinate: Coordinate, *, since: datetime, after: str | None, limit: int
) -> Found:
    """Return the events of an XCom.

    :param since: when it was pushed: what is older is about another value of the same coordinate.
    :raises AccessLogUnreadable: the log cannot be read; :raises RequestInvalid: ``after`` is none.
    """
    # Clocks of workers differ.
    query = Search.of(coordinate, since - SKEW if since.year > 1 else since)
    search = log_file.search if place.state == "file" else log_table.search
    return search(place.uri, query, after=after, limit=limit)


def shown(events: Iterable[Event], viewer: Viewer, dag_id: str) -> list[dict[str, Any]]:
    """Return events as this person may see them.

    A task of a DAG that they may not read stays unnamed, and who acted by hand is for readers of the audit log.
    """
    by_hand = viewer.may_read_audit_log(dag_id)
    return [_shown(event, viewer, by_hand=by_hand) for event in events]


def _shown(event: Event, viewer: Viewer, *, by_hand: bool) -> dict[str, Any]:
    consumer = event.get("consumer") or event.get("task")
    reader = consumer.get("dag_id") if isinstance(consumer, Mapping) else None
    hidden = isinstance(reader, str) and not viewer.may_read_dag(reader)
    names = ("dag_id", "run_id", "task_id", "map_index", "try_number")
    consumer_ids = None
    if isinstance(consumer, Mapping) and reader is not None and not hidden:
        consumer_ids = {name: consumer.get(name) for name in names}
    return {
        "time": event.get("time"),
        "action": event.get("action"),
        "outcome": event.get("outcome"),
        "error": event.get("error"),
        "rule": event.get("rule"),
        "by": consumer_ids,
        "hidden": hidden,
        "operator": event.get("operator") if by_hand else None,
        "reason": event.get("reason") if by_hand else None,
    }

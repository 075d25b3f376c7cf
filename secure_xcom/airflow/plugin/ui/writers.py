"""What wrote a plaintext row, as far as Airflow's tables tell."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from secure_xcom.airflow.plugin.ui.looking import XCom
from secure_xcom.airflow.plugin.ui.stored import RestWrite
from secure_xcom.airflow.plugin.ui.tables import Tables
from secure_xcom.airflow.plugin.ui.times import text_of
from secure_xcom.airflow.plugin.ui.xcom_findings import LINK_PREFIX

_LOOP_REASON_KEY = "_airflow_loop_decision_reason"
_SKIPMIXIN_KEY = "skipmixin_key"


def writer(xcom: XCom, tables: Tables, *, first_sealed: datetime | None, may_see_user: bool) -> dict[str, Any]:
    """Return what wrote a row: kind, text, and for a REST write the user and the time.

    :param first_sealed: when the first XCom of the compartment was sealed, as far as maintenance has counted.
    :param may_see_user: whether the person who asks may read the DAG's audit log.
    """
    key = xcom.stored.place.key
    if key.startswith(LINK_PREFIX):
        return _said("link", "Written by Airflow for an operator's extra link.")
    if key == _LOOP_REASON_KEY:
        return _said("loop", "Written by Airflow for a loop.")
    write = _rest_write(xcom, tables)
    if write is not None:
        by = f" by {write.user}" if may_see_user and write.user else ""
        text = f"Written through REST: Airflow's audit log has {write.event}{by} at {text_of(write.time)}."
        return _said("rest", text, write.user if may_see_user else None, write.time)
    written = xcom.stored.written
    if first_sealed is not None and written is not None and written < first_sealed:
        return _said("before", "Written before the first XCom of its compartment was sealed.")
    if key == _SKIPMIXIN_KEY:
        return _said("skip", "Written by Airflow for a branching task.")
    return _said(
        "unknown",
        "Airflow does not record what wrote it: a trigger (TaskSuccessEvent), a task of another language, a "
        "worker "
        "with another XCom backend, or a write to the database.",
    )


def _said(kind: str, text: str, user: str | None = None, time: datetime | None = None) -> dict[str, Any]:
    return {"kind": kind, "text": text, "user": user, "time": text_of(time)}


def _rest_write(xcom: XCom, tables: Tables) -> RestWrite | None:
    """Return the newest REST write of this XCom in Airflow's audit log."""
    place = xcom.stored.place
    for write in tables.rest_writes(xcom.stored.run, place.task_id):
        fields = _fields(write.extra)
        # The path of a PATCH names the key, and the body of a POST does.
        key = fields.get("xcom_key", fields.get("key"))
        index = fields.get("map_index", -1)
        if key == place.key and str(index) == str(place.map_index):
            return write
    return None


def _fields(extra: str | None) -> dict[str, Any]:
    try:
        fields = json.loads(extra or "{}")
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}

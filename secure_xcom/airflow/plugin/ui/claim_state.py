"""The claim on an exclusive XCom, as far as the API server knows without new rights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from secure_xcom.airflow.plugin.ui.looking import XCom
from secure_xcom.airflow.plugin.ui.times import text_of
from secure_xcom.claims.table_schema import claim_xcom

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from secure_xcom.airflow.plugin.ui.permissions import Viewer

_IN_STORE = (
    "Its claim is stored beside the payload, where the API server cannot read it; the access log shows who "
    "claimed it."
)
_ELSEWHERE = (
    "Its claim is stored in a separate database, which the API server does not read; the access log shows who "
    "claimed it."
)


def has_claims(session: Session) -> bool:
    """Return whether the table of claims lies in Airflow's own database."""
    return sa.inspect(session.connection()).has_table(claim_xcom().name)


def claim(xcom: XCom, session: Session, viewer: Viewer, *, has_table: bool) -> dict[str, Any]:
    """Return who claimed an exclusive XCom, where the table of claims lies in Airflow's own database."""
    head = xcom.head
    if xcom.reference is not None and xcom.reference.shredded is not None:
        text = "It was claimed, read and then shredded; the access log shows by whom."
        return _said("claimed", text, time=xcom.reference.shredded)
    if head is None or head.exclusive != "database" or head.object is None:
        return _said("unknown", _IN_STORE)
    if not has_table:
        return _said("unknown", _ELSEWHERE)
    table = claim_xcom()
    columns = [table.c[f"claimant_{name}"] for name in ("dag_id", "run_id", "task_id", "map_index")]
    query = sa.select(*columns, table.c.claimed).where(table.c.payload == head.object[-36:])
    record = session.execute(query).first()
    if record is None:
        return _said("unclaimed", "Nobody has claimed it yet.")
    dag_id, run_id, task_id, map_index, claimed = tuple(record)
    if not viewer.may_read_dag(dag_id):
        return _said("claimed", "A task of another DAG claimed it.", time=text_of(claimed), hidden=True)
    by = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    return _said("claimed", "One task instance claimed it.", time=text_of(claimed), by=by)


def _said(
    state: str, text: str, *, time: str | None = None, by: dict[str, Any] | None = None, hidden: bool = False
) -> dict[str, Any]:
    return {"state": state, "by": by, "hidden": hidden, "time": time, "text": text}

"""The route of the compartments page."""

from __future__ import annotations

from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter

from secure_xcom.airflow.plugin.ui.answers import Answer
from secure_xcom.airflow.plugin.ui.compartment_page import PAGE, compartments
from secure_xcom.airflow.plugin.ui.counted import counted
from secure_xcom.airflow.plugin.ui.cursors import decoded, encoded
from secure_xcom.airflow.plugin.ui.known_deployment import deployment
from secure_xcom.airflow.plugin.ui.parameters import After
from secure_xcom.airflow.plugin.ui.permissions import SEE_COMPARTMENTS

router = APIRouter()


@router.get("/compartments", dependencies=[SEE_COMPARTMENTS])
def policy_in_force(session: SessionDep, after: After = None) -> Answer:
    """Return the access policy as it is in force, with findings and numbers."""
    position = decoded(after, (int,))
    start = 0 if position is None else max(0, int(position[0] or 0))
    known = deployment()
    answer = compartments(known, counted(session), start=start)
    more = known.policy is not None and len(known.policy.compartments) > start + PAGE
    return Answer({**answer, "next": encoded([start + PAGE]) if more else None})

"""Who may ask for what: Airflow's own permission dependencies, and questions to its auth manager.

Everything is imported at the top of the module. FastAPI resolves annotations in a module's globals, and takes
``user: GetUserDep`` for a query parameter where it does not find the name there, which would let anybody in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import (
    ConfigurationDetails,
    ConnectionDetails,
    DagAccessEntity,
    DagDetails,
)
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Path, status

DagId = Annotated[str, Path(min_length=1, max_length=250, pattern=r"^[^~\x00][^\x00]*$")]
"""A DAG's id in a path. Airflow takes ``~`` for every DAG, which is none here."""

READ_XCOMS = Depends(requires_access_dag("GET", DagAccessEntity.XCOM))
"""May read XComs: of the DAG in the path or the query, else XComs in general."""


def may_see_compartments(user: GetUserDep) -> bool:
    """Return whether somebody may see the access policy: whoever may read Airflow's configuration and connections.

    The policy holds what these hold: settings, and the addresses of key services and stores.
    """
    manager = get_auth_manager()
    return manager.is_authorized_configuration(
        method="GET", details=ConfigurationDetails(section="secure_xcom"), user=user
    ) and manager.is_authorized_connection(method="GET", details=ConnectionDetails(), user=user)


def requires_compartments(allowed: Annotated[bool, Depends(may_see_compartments)]) -> None:
    """Let nobody else in."""
    if not allowed:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Forbidden")


SEE_COMPARTMENTS = Depends(requires_compartments)
MaySeeCompartments = Annotated[bool, Depends(may_see_compartments)]


def readable_dags(user: GetUserDep) -> set[str]:
    """Return the ids of the DAGs that somebody may read."""
    return set(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


ReadableDags = Annotated[set[str], Depends(readable_dags)]


class Viewer:
    """The person who asks."""

    def __init__(self, user: GetUserDep) -> None:
        self._user = user
        self._seen: dict[tuple[str, DagAccessEntity | None], bool] = {}

    def may_read_dag(self, dag_id: str) -> bool:
        """Return whether this person may know of a DAG."""
        return self._may(dag_id, None)

    def may_read_audit_log(self, dag_id: str) -> bool:
        """Return whether this person may see who did what to a DAG by hand."""
        return self._may(dag_id, DagAccessEntity.AUDIT_LOG)

    def _may(self, dag_id: str, entity: DagAccessEntity | None) -> bool:
        if (dag_id, entity) not in self._seen:
            details = DagDetails(id=dag_id, team_name=_team_of(dag_id))
            self._seen[dag_id, entity] = get_auth_manager().is_authorized_dag(
                method="GET", access_entity=entity, details=details, user=self._user
            )
        return self._seen[dag_id, entity]

    def known(self, dag_ids: Iterable[str]) -> set[str]:
        """Return those of the DAGs that this person may know of."""
        return {dag_id for dag_id in set(dag_ids) if self.may_read_dag(dag_id)}


def viewer(user: GetUserDep) -> Viewer:
    """Return the person who asks."""
    return Viewer(user)


ViewerDep = Annotated[Viewer, Depends(viewer)]


def _team_of(dag_id: str) -> str | None:
    # Airflow 3.1 has no teams.
    get_team_name = getattr(DagModel, "get_team_name", None)
    return None if get_team_name is None else get_team_name(dag_id)

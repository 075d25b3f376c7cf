"""What one request may use: the tables, the deployment, the numbers and the person who asks."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow import __version__ as airflow_version

from secure_xcom.airflow.plugin.ui import claim_state, describing, log_place
from secure_xcom.airflow.plugin.ui.counted import Counted, counted
from secure_xcom.airflow.plugin.ui.known_deployment import Deployment, deployment
from secure_xcom.airflow.plugin.ui.known_tables import tables_of
from secure_xcom.airflow.plugin.ui.looking import STATES, XCom, look
from secure_xcom.airflow.plugin.ui.permissions import MaySeeCompartments, Viewer
from secure_xcom.airflow.plugin.ui.refusing import refuses
from secure_xcom.airflow.plugin.ui.stored import Attempts, Narrow, Run, Wanted
from secure_xcom.airflow.plugin.ui.tables import Tables
from secure_xcom.airflow.plugin.ui.writers import writer
from secure_xcom.core.config import RELEASE
from secure_xcom.core.operator_errors import XComNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

__all__ = ["Knowing", "MaySeeCompartments", "about"]


class Knowing:
    """What one request may use.

    :raises TablesUnknown: Airflow's tables are not known to this release.
    """

    def __init__(self, session: Session, viewer: Viewer) -> None:
        self.session = session
        self.viewer = viewer
        self.tables: Tables = tables_of(session)
        self.deployment: Deployment = deployment()

    @cached_property
    def counted(self) -> Counted:
        """Return what maintenance has counted."""
        return counted(self.session)

    @cached_property
    def has_claims(self) -> bool:
        """Return whether the table of claims is in Airflow's own database."""
        return claim_state.has_claims(self.session)

    @property
    def newest(self) -> Mapping[str, int]:
        """The newest version of each wrapping key."""
        return self.counted.newest

    def run(self, dag_id: str, run_id: str) -> Run:
        """Return a run.

        :raises XComNotFound: there is none.
        """
        run = self.tables.run(dag_id, run_id)
        if run is None:
            raise XComNotFound("the DAG has no such run", where=f"{dag_id[:100]}/{run_id[:100]}")
        return run

    def one(self, dag_id: str, run_id: str, task_id: str, map_index: int, key: str, attempts: Attempts) -> XCom:
        """Return an XCom.

        :raises XComNotFound: there is none.
        """
        run = self.run(dag_id, run_id)
        wanted = Narrow(Wanted(task_id), map_index, Wanted(key), attempts)
        rows = self.tables.of_task(run, wanted, after=None, limit=1)
        if not rows:
            raise XComNotFound("there is no such XCom", where=f"{task_id[:100]}:{key[:100]}")
        return look(rows[0], self.deployment.policy)

    def whole(self, xcom: XCom) -> dict[str, Any]:
        """Return an XCom with all that this person may know of it."""
        dag_id, written_by, claim = xcom.stored.run.dag_id, None, None
        if xcom.state == "plaintext":
            written_by = writer(
                xcom,
                self.tables,
                first_sealed=self.counted.first_sealed(xcom.compartment_name),
                may_see_user=self.viewer.may_read_audit_log(dag_id),
            )
        if xcom.head is not None and xcom.head.exclusive is not None:
            claim = claim_state.claim(xcom, self.session, self.viewer, has_table=self.has_claims)
        return describing.whole(xcom, self.deployment, self.newest, written_by=written_by, claim=claim)


def about(*, may_see_compartments: bool) -> dict[str, Any]:
    """Return what the page can show."""
    known, log = deployment(), log_place.log_place()
    notices = []
    if known.policy is None:
        notices.append(
            {"kind": "policy-unknown", "severity": "warning", "text": known.text, "remedy": known.remedy}
        )
    shown = known.policy is not None and may_see_compartments
    return {
        "release": RELEASE,
        "airflow": airflow_version,
        # A path of the server is for people who run it.
        "policy": {"state": known.state, "text": known.text if may_see_compartments else ""},
        "on_plaintext": known.settings.on_plaintext,
        "preview": known.settings.preview,
        "rest_writes": "refused" if refuses(known.settings) else "possible",
        "access_log": {"state": log.state, "text": log.text},
        "may": {"compartments": may_see_compartments},
        "compartments": [compartment.name for compartment in known.policy.compartments[:1000]]
        if shown and known.policy
        else [],
        "states": list(STATES),
        "notices": notices,
    }

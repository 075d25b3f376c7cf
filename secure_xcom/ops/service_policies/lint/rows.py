"""Lint: the rows of Airflow's database, which contain the references.

With ``[core] multi_team`` Airflow's Execution API lets a task write the rows of its own team's DAGs alone, or of
DAGs without a team where it has none (`has_xcom_access` in execution_api/routes/xcoms.py of Airflow 3.3).
"""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

_ANYBODYS = (
    "may overwrite or delete any row of the other through Airflow's Execution API; a pull refuses a forged row, "
    "and a deleted one is lost"
)
_REMEDY = (
    "set [core] multi_team = True (Airflow 3.3 and later) and give each compartment teams of its own; Airflow "
    "then lets no task pull from another team's DAGs either, whatever `readers` says"
)


def findings(policy: AccessPolicy, *, multi_team: bool) -> Iterator[Finding]:
    """Return a finding for compartments whose tasks may write each other's rows.

    :param multi_team: True if Airflow separates teams.
    """
    for index, compartment in enumerate(policy.compartments):
        for other in policy.compartments[:index]:
            if multi_team and not _one_team(compartment, other):
                continue
            why = (
                "may have one team, or none" if multi_team else "are in one Airflow, and [core] multi_team is off"
            )
            text = f"compartments {other.name!r} and {compartment.name!r} {why}: a task of one {_ANYBODYS}"
            yield lint_finding("rows-of-all", "ok", ("compartments", index), text, _REMEDY)
            break


def _one_team(compartment: Compartment, other: Compartment) -> bool:
    if compartment.teams is None or other.teams is None:
        # A compartment that names none may have DAGs of any team; one with teams has none of the others.
        return compartment.teams is other.teams
    return not set(map(str.lower, compartment.teams)).isdisjoint(map(str.lower, other.teams))

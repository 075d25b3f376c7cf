"""Lint: whose the rows of Airflow's database are, which hold the references."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.access.policy import AccessPolicy
from secure_xcom.access.remarks import Remark

ANYBODYS = (
    "any task may overwrite or delete any row through Airflow's Execution API; a pull refuses a "
    "forged row, and a deleted one is lost"
)
REMEDY = "set [core] multi_team = True (Airflow 3.3 and later) and give each compartment teams of its own"


def remarks(policy: AccessPolicy, *, multi_team: bool) -> Iterator[Remark]:
    """Say whose rows a task of another compartment may write and delete.

    :param multi_team: whether Airflow keeps teams apart.
    """
    if len(policy.compartments) < 2:
        return
    if not multi_team:
        yield Remark("rows-of-all", "ok", ("compartments", 1), f"[core] multi_team is off: {ANYBODYS}", REMEDY)
        return
    for index, own in enumerate(policy.compartments):
        if own.teams is None:
            text = f"compartment {own.name!r} names no teams, and DAGs without a team are everybody's: {ANYBODYS}"
            yield Remark("rows-of-all", "ok", ("compartments", index), text, REMEDY)

"""``secure-xcom doctor``, whose rows Airflow lets a task write."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.access_policy import AccessPolicy
from secure_xcom.ops.checks.doctor_findings import Ailment
from secure_xcom.ops.service_policies.lint import rows


def examine_teams(policy: AccessPolicy, *, multi_team: bool) -> Iterator[Ailment]:
    """Say whose rows a task of another compartment may overwrite and delete.

    :param multi_team: whether Airflow keeps teams apart.
    """
    found = list(rows.findings(policy, multi_team=multi_team))
    if found:
        yield Ailment("rows-of-all", "warning", found[0].text, found[0].remedy, count=len(found))

"""Find out whose rows Airflow lets a task of another compartment write, for ``doctor``."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.lint import rows


def examine_teams(policy: AccessPolicy, *, multi_team: bool) -> Iterator[Finding]:
    """Report the rows that a task of another compartment can overwrite and delete.

    :param multi_team: whether Airflow keeps teams apart.
    """
    reported = list(rows.findings(policy, multi_team=multi_team))
    if reported:
        yield Finding(
            "[core] multi_team",
            "warning",
            reported[0].text,
            reported[0].remedy,
            "rows-of-all",
            count=len(reported),
        )

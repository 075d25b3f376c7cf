"""Lint: places that the id of a DAG alone opens, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding
from secure_xcom.ops.compartments import carries_identity
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

_REMEDY = (
    "list the bundles that its DAGs come from, and let nobody else write to them (`bundles`, beside the "
    "places; Airflow 3.3 and later); if all DAGs are in one bundle, have the ids of new DAGs reviewed"
)


def findings(policy: AccessPolicy) -> Iterator[Finding]:
    """Yield a finding for each owner whose places any DAG gets by its id, if there is more than one owner."""
    owners: list[tuple[str, Path, bool]] = [
        (
            f"compartment {compartment.name!r}",
            ("compartments", index, "tasks_run_on"),
            bool(compartment.bundles or compartment.teams),
        )
        for index, compartment in enumerate(policy.compartments)
        if carries_identity(compartment.tasks_run_on)
    ]
    owners += [
        (
            f"identity {identity.name!r}",
            ("identities", index, "runs_on"),
            bool(identity.runs_on.bundles or identity.runs_on.teams),
        )
        for index, identity in enumerate(policy.identities)
        if identity.runs_on is not None and identity.runs_on.dags
    ]
    if len(owners) + len(policy.compartments) < 3:
        return
    for subject, path, has_origin in owners:
        if not has_origin:
            text = (
                f"a DAG gets the places of {subject} by its id alone, whichever bundle it comes from: "
                "whoever can add a DAG to any bundle can run tasks there"
            )
            yield lint_finding("id-alone", "ok", path, text, _REMEDY)

"""Lint: places that the id of a DAG alone opens, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.ops.service_policies.lint.lint_finding import Remark

_REMEDY = (
    "name the bundles that its DAGs come from, which nobody else can write to (beside places: Airflow 3.3 and "
    "later); where all DAGs are of one bundle, let somebody look at the ids of new ones"
)


def remarks(policy: AccessPolicy) -> Iterator[Remark]:
    """Say whose places any DAG gets by its id, where there is more than one owner of places."""
    found: list[tuple[str, Path, bool]] = [
        (f"compartment {own.name!r}", ("compartments", index, "tasks_run_on"), bool(own.bundles or own.teams))
        for index, own in enumerate(policy.compartments)
        if own.tasks_run_on is not None and own.tasks_run_on.carries_identity
    ]
    found += [
        (
            f"identity {one.name!r}",
            ("identities", index, "runs_on"),
            bool(one.runs_on.bundles or one.runs_on.teams),
        )
        for index, one in enumerate(policy.identities)
        if one.runs_on is not None and one.runs_on.dags
    ]
    if len(found) + len(policy.compartments) < 3:
        return
    for subject, path, told in found:
        if not told:
            text = f"a DAG of any bundle gets the places of {subject} by its id, and so does who wrote it"
            yield Remark("id-alone", "ok", path, text, _REMEDY)

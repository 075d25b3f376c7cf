"""Lint: globs of DAGs that never match, or that match DAGs of another compartment."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.glob_relations import covers
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.glob_index import GlobIndex
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding


def findings(policy: AccessPolicy) -> Iterator[Finding]:
    """Return the findings about the DAGs of compartments."""
    yield from _globs(policy)
    yield from _default(policy)
    for index, compartment in enumerate(policy.compartments):
        if compartment.hide_return_values is False:
            yield lint_finding(
                "returned-values-logged",
                "warning",
                ("compartments", index, "hide_return_values"),
                f"operators of {compartment.name!r} log their return values before these are sealed",
                "remove hide_return_values, unless no return value is ever secret",
            )


def _globs(policy: AccessPolicy) -> Iterator[Finding]:
    flat = [
        (glob, compartment, ("compartments", index, "dags", number))
        for index, compartment in enumerate(policy.compartments)
        for number, glob in enumerate(compartment.dags)
    ]
    index = GlobIndex((glob, place) for place, (glob, _, _) in enumerate(flat))
    for place, (glob, compartment, path) in enumerate(flat):
        wider = min((position for position in index.covering(glob) if position < place), default=None)
        if wider is not None:
            other, owner, _ = flat[wider]
            yield _unreachable(glob, other, compartment, owner, path)
            continue
        for earlier in index.overlapping(glob):
            other, owner, _ = flat[earlier]
            # An exception has to come before its rule.
            if earlier < place and owner is not compartment and not covers(glob, other):
                yield lint_finding(
                    "overlap",
                    "warning",
                    path,
                    f"a DAG that {other!r} of {owner.name!r} also matches belongs there, because it comes first",
                    "make the globs differ, or name such DAGs in one of the two",
                )
                # One is enough; there may be as many as compartments.
                break


def _unreachable(glob: str, other: str, compartment: Compartment, owner: Compartment, path: Path) -> Finding:
    if owner is compartment:
        return lint_finding(
            "repeated",
            "warning",
            path,
            f"{other!r} above matches everything that {glob!r} matches",
            "leave one out",
        )
    return lint_finding(
        "unreachable",
        "error",
        path,
        f"no DAG ever gets here: {other!r} of {owner.name!r} matches everything that {glob!r} matches, and "
        "comes first",
        f"move {compartment.name!r} before {owner.name!r}, or remove the glob",
    )


def _default(policy: AccessPolicy) -> Iterator[Finding]:
    for index, compartment in enumerate(policy.compartments):
        for number, glob in enumerate(compartment.dags):
            if not glob.strip("*") and policy.default not in (None, compartment):
                yield lint_finding(
                    "unreachable-default",
                    "warning",
                    ("compartments", index, "dags", number),
                    f"{glob!r} leaves no DAG for the default compartment",
                    "remove the glob or the default",
                )
            elif not glob.strip("*") and len(policy.compartments) > 1:
                yield lint_finding(
                    "wildcard-dags",
                    "warning",
                    ("compartments", index, "dags", number),
                    f"every DAG that no other compartment matches belongs to {compartment.name!r}, including "
                    "new and mistyped ones",
                    "name its DAGs; if it is meant for the rest, say so: defaults: {compartment: NAME}",
                )

"""Lint: the effect of entries in services, which see digests or ids and have no globs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.field_types import is_glob
from secure_xcom.core.access_policy.globs import matches
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.grants import grants_of
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding


def findings(policy: AccessPolicy, known: Sequence[str]) -> Iterator[Finding]:
    """Return the findings about compiled entries.

    :param known: the ids of existing DAGs.
    """
    yield from _of_viewers(policy, known)
    if not policy.identities:
        return
    for index, compartment in enumerate(policy.compartments):
        for number, reader in enumerate(compartment.readers):
            path: Path = ("compartments", index, "readers", number)
            yield from _dags(policy, compartment, reader.of_dags, (*path, "of_dags"), known)
            unnamed = "*" in reader.of_dags and not _any(policy, compartment, known)
            yield from _tasks(compartment, reader.of_tasks, (*path, "of_tasks"), widened=unnamed)
    for index, identity in enumerate(policy.identities):
        for number, grant in enumerate(identity.grants):
            path = ("identities", index, "grants", number)
            compartment = policy.compartment(grant.compartment)
            yield from _dags(policy, compartment, grant.dags or (), (*path, "dags"), known)
            unnamed = "*" in (grant.dags or ()) and not _any(policy, compartment, known)
            yield from _tasks(compartment, grant.tasks or ("*",), (*path, "tasks"), widened=unnamed)
    yield from _single(policy)


def _of_viewers(policy: AccessPolicy, known: Sequence[str]) -> Iterator[Finding]:
    if policy.reveal is None or policy.reveal.vault is None:
        return
    for index, compartment in enumerate(policy.compartments):
        for number, viewer in enumerate(compartment.viewers):
            path: Path = ("compartments", index, "viewers", number)
            yield from _dags(policy, compartment, viewer.dags, (*path, "dags"), known)
            unnamed = "*" in viewer.dags and not _any(policy, compartment, known)
            yield from _tasks(compartment, viewer.tasks, (*path, "tasks"), widened=unnamed)


def _dags(
    policy: AccessPolicy, compartment: Compartment, globs: Sequence[str], path: Path, known: Sequence[str]
) -> Iterator[Finding]:
    for number, glob in enumerate(globs):
        if not is_glob(glob) or glob == "*":
            continue
        ids = [dag for dag in known if matches(glob, dag) and policy.resolve_dag(dag) is compartment]
        if ids:
            yield lint_finding(
                "glob-known",
                "ok",
                (*path, number),
                f"{glob!r} is compiled to the DAGs {', '.join(ids[:10])}: compile again when a DAG is added",
            )
        else:
            yield lint_finding(
                "glob-whole",
                "warning",
                (*path, number),
                f"services have no globs: {glob!r} is compiled to all of {compartment.name!r}, and only the "
                "process checks the DAG",
                "name DAGs by their ids, or give the compiler the existing ids (--dag)",
            )


def _any(policy: AccessPolicy, compartment: Compartment, known: Sequence[str]) -> bool:
    return any(policy.resolve_dag(dag) is compartment for dag in known)


def _tasks(compartment: Compartment, tasks: Sequence[str], path: Path, *, widened: bool) -> Iterator[Finding]:
    """Return the findings about task ids.

    :param widened: True if they are for all DAGs, and the DAG ids are not known.
    """
    if tasks == ("*",):
        return
    for number, glob in enumerate(tasks):
        if is_glob(glob):
            yield lint_finding(
                "glob-tasks",
                "warning",
                (*path, number),
                f"services have no globs: {glob!r} is compiled to all tasks of these DAGs of {compartment.name!r}",
                "name tasks by their ids",
            )
            return
    if widened:
        yield lint_finding(
            "glob-whole",
            "warning",
            path,
            f"services know a task only within its DAG: tasks of every DAG are compiled to all of "
            f"{compartment.name!r}",
            "name the DAGs as well, or give the compiler the existing ids (--dag)",
        )


def _single(policy: AccessPolicy) -> Iterator[Finding]:
    """Find keys of which an identity has only a part, while their URI allows batches."""
    limited: dict[str, list[str]] = {}
    for identity in policy.identities:
        if identity.vault is not None:
            for grant in grants_of(policy, identity):
                if grant.dags is not None and not any(is_glob(dag) for dag in grant.dags):
                    limited.setdefault(grant.compartment, []).append(identity.name)
    for index, compartment in enumerate(policy.compartments):
        names = list(dict.fromkeys(limited.get(compartment.name, ())))
        for number, uri in enumerate(compartment.key_uris if names else ()):
            if uri.startswith("vault://") and "grant=scoped" not in uri.partition("?")[2].split("&"):
                yield lint_finding(
                    "batch-in-limited-key",
                    "warning",
                    ("compartments", index, "key_uris", number),
                    f"{', '.join(names[:5])} may open only a part of this key, and Vault cannot inspect a batch: "
                    "it will refuse their batches",
                    "append ?grant=scoped to the key URI, so that requests are single",
                )

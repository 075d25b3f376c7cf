"""Lint: readers that admit nobody, or more than they seem to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from secure_xcom.core.access_policy.compartment import Compartment, Reader
from secure_xcom.core.access_policy.field_types import is_glob
from secure_xcom.core.access_policy.glob_relations import covers, overlap
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.grants import consumers
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

_FIELDS = ("dags", "tasks", "of_dags", "of_tasks")


def findings(policy: AccessPolicy) -> Iterator[Finding]:
    """Return the findings about readers."""
    workers: dict[str, list[str]] = {}
    for identity in policy.identities:
        for name in identity.workers_of:
            workers.setdefault(name, []).append(identity.name)
    granted = {
        grant.compartment
        for identity in policy.identities
        for grant in identity.grants
        if grant.role in ("reader", "both", "operator")
    }
    for index, compartment in enumerate(policy.compartments):
        for number, reader in enumerate(compartment.readers):
            path: Path = ("compartments", index, "readers", number)
            yield from _nobody(policy, compartment, reader, path)
            yield from _superfluous(compartment.readers[:number], reader, path)
            yield from _wider(policy, compartment, reader, path)
            if policy.identities:
                consumer_dags = consumers(policy, compartment, reader)
                who = sorted({name for consumer in consumer_dags for name in workers.get(consumer, ())})
                yield from _by_identity(reader, path, who, granted=compartment.name in granted)


def _nobody(policy: AccessPolicy, owner: Compartment, reader: Reader, path: Path) -> Iterator[Finding]:
    for number, glob in enumerate(reader.dags):
        if is_glob(glob):
            continue
        compartment = policy.resolve_dag(glob)
        if compartment is owner:
            yield lint_finding(
                "reader-of-itself",
                "warning",
                (*path, "dags", number),
                f"{glob!r} belongs to {owner.name!r}, whose tasks may always pull",
                "remove it",
            )
        elif compartment is None:
            yield lint_finding(
                "reader-unknown",
                "warning",
                (*path, "dags", number),
                f"the DAG {glob!r} belongs to no compartment, so it has no workers and cannot push",
                "correct the id, or give the DAG a compartment",
            )
        elif reader.compartment is not None and compartment.name != reader.compartment:
            yield lint_finding(
                "reader-never",
                "error",
                (*path, "dags", number),
                f"{glob!r} belongs to {compartment.name!r}, not to {reader.compartment!r}",
                "correct one of the two",
            )
    if reader.compartment is not None and not consumers(policy, owner, reader):
        yield lint_finding(
            "reader-never",
            "error",
            (*path, "dags"),
            f"no DAG of {reader.compartment!r} is one of these",
            "correct compartment or dags",
        )
    if owner is policy.default:
        return
    for number, glob in enumerate(reader.of_dags):
        elsewhere = policy.resolve_dag(glob) is not owner if not is_glob(glob) else not _meets(glob, owner)
        if elsewhere:
            yield lint_finding(
                "reader-never",
                "error",
                (*path, "of_dags", number),
                f"no DAG of {owner.name!r} is {glob!r}",
                "correct the id or the glob",
            )


def _meets(glob: str, compartment: Compartment) -> bool:
    return any(overlap(glob, listed) for listed in compartment.dags)


def _superfluous(before: Sequence[Reader], reader: Reader, path: Path) -> Iterator[Finding]:
    for number, earlier in enumerate(before):
        same = earlier.compartment is None or earlier.compartment == reader.compartment
        if same and all(_covered(getattr(earlier, field), getattr(reader, field)) for field in _FIELDS):
            yield lint_finding(
                "unreachable-reader",
                "warning",
                path,
                f"readers[{number}] admits everything that this entry admits",
                "remove one of the two",
            )
            return


def _covered(wide: Sequence[str], narrow: Sequence[str]) -> bool:
    return all(any(covers(wider, glob) for wider in wide) for glob in narrow)


def _wider(policy: AccessPolicy, compartment: Compartment, reader: Reader, path: Path) -> Iterator[Finding]:
    if reader.compartment is not None:
        return
    for number, glob in enumerate(reader.dags):
        if not glob.strip("*"):
            yield lint_finding(
                "reader-everybody",
                "warning",
                (*path, "dags", number),
                f"every DAG may pull from {compartment.name!r}, including DAGs of no compartment",
                "name a compartment or DAGs",
            )
        elif is_glob(glob):
            names = sorted(consumers(policy, compartment, Reader(dags=(glob,))))
            if len(names) > 1:
                yield lint_finding(
                    "reader-wider",
                    "warning",
                    (*path, "dags", number),
                    f"DAGs of {len(names)} compartments can be {glob!r}: {', '.join(names[:5])}",
                    "name the intended compartment",
                )


def _by_identity(reader: Reader, path: Path, who: Sequence[str], *, granted: bool) -> Iterator[Finding]:
    """Report that services see identities, not tasks: an identity can read for all its tasks."""
    if not who and not granted:
        yield lint_finding(
            "reader-without-identity",
            "warning",
            path,
            "no identity of the file runs these tasks, so the key service will refuse them",
            "add the compartments of these tasks to workers_of, or grant it to their identity",
        )
    elif who and (reader.tasks != ("*",) or reader.compartment is None):
        yield lint_finding(
            "reader-by-identity",
            "ok",
            path,
            f"Vault and KMS see identities, not tasks: {', '.join(who[:5])} can unwrap this for any task that "
            "runs there; only the task's process checks which DAG and task may pull",
        )

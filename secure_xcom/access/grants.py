"""What an identity may do, all told: what it is granted, and what follows from whose tasks it runs."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.access.globs import overlap
from secure_xcom.access.identities import Grant, Identity
from secure_xcom.access.model import Compartment, Reader
from secure_xcom.access.names import is_glob
from secure_xcom.access.policy import AccessPolicy

_EVERYTHING = ("*",)


def grants_of(policy: AccessPolicy, identity: Identity) -> tuple[Grant, ...]:
    """An identity's grants.

    Pushing and pulling for the compartments whose workers it is, then what their tasks may pull of others as those
    compartments' ``readers`` say, then its own ``grants``.

    ``dags`` and ``tasks`` of a grant are None where they are everything, and may hold globs. Grants may repeat and
    contain each other; together they are what the identity may do.
    """
    found: dict[tuple[object, ...], Grant] = {}
    for name in identity.workers_of:
        for grant in _of_workers(policy, policy.compartment(name)):
            found.setdefault((grant.compartment, grant.role, grant.dags, grant.tasks), grant)
    for grant in identity.grants:
        found.setdefault((grant.compartment, grant.role, grant.dags, grant.tasks), grant)
    return tuple(found.values())


def _of_workers(policy: AccessPolicy, own: Compartment) -> Iterator[Grant]:
    yield _grant(own.name, "both")
    for other in policy.compartments:
        if other is own:
            continue
        for reader in other.readers:
            if may_run_in(policy, reader, own):
                yield _grant(other.name, "reader", reader.of_dags, reader.of_tasks)


def may_run_in(policy: AccessPolicy, reader: Reader, compartment: Compartment) -> bool:
    """Whether a consumer that the reader admits may be a task of this compartment."""
    if reader.compartment is not None and reader.compartment != compartment.name:
        return False
    for glob in reader.dags:
        if not is_glob(glob):
            if policy.resolve_dag(glob) is compartment:
                return True
        elif policy.is_default(compartment) or any(overlap(glob, own) for own in compartment.dags):
            return True
    return False


def _grant(
    compartment: str, role: str, dags: tuple[str, ...] = _EVERYTHING, tasks: tuple[str, ...] = _EVERYTHING
) -> Grant:
    fields: dict[str, object] = {"compartment": compartment, "as": role}
    if dags != _EVERYTHING or tasks != _EVERYTHING:
        fields["dags"] = dags
    if tasks != _EVERYTHING:
        fields["tasks"] = tasks
    return Grant.model_validate(fields)

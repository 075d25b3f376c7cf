"""All grants of an identity: its own, and those that follow from the compartments whose tasks it runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from secure_xcom.core.access_policy.compartment import Compartment, Reader
from secure_xcom.core.access_policy.field_types import is_glob
from secure_xcom.core.access_policy.glob_relations import overlap
from secure_xcom.core.access_policy.identities import Grant, Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.glob_index import GlobIndex

_EVERYTHING = ("*",)


def grants_of(policy: AccessPolicy, identity: Identity) -> tuple[Grant, ...]:
    """Return an identity's grants.

    First pushing and pulling for the compartments whose tasks it runs, then what these tasks may pull of other
    compartments by their ``readers``, then its own ``grants``.

    ``dags`` and ``tasks`` of a grant are None for all, and may contain globs. Grants may repeat and overlap;
    together they are the identity's rights.
    """
    grants: dict[tuple[object, ...], Grant] = {}
    of_workers = (grant for name in identity.workers_of for grant in _of_workers(policy, name))
    for grant in (*of_workers, *identity.grants):
        grants.setdefault((grant.compartment, grant.role, grant.dags, grant.tasks), grant)
    return tuple(grants.values())


def consumers(policy: AccessPolicy, owner: Compartment, reader: Reader) -> frozenset[str]:
    """Return the other compartments whose tasks a reader admits. Services do not see single tasks."""
    if reader.compartment is not None:
        source = policy.compartment(reader.compartment)
        return frozenset({source.name} if _meet(policy, reader, source) else ())
    names: set[str] = set()
    for glob in reader.dags:
        if is_glob(glob):
            names.update(policy.compartments[place].name for place in _dags(policy).overlapping(glob))
            if policy.default is not None:
                # The DAGs of the default compartment are not known in advance.
                names.add(policy.default.name)
        elif (compartment := policy.resolve_dag(glob)) is not None:
            names.add(compartment.name)
    return frozenset(names - {owner.name})


def _meet(policy: AccessPolicy, reader: Reader, source: Compartment) -> bool:
    """Check whether a DAG that the reader names may belong to a compartment."""
    for glob in reader.dags:
        if not is_glob(glob):
            if policy.resolve_dag(glob) is source:
                return True
        elif source is policy.default or any(overlap(glob, listed) for listed in source.dags):
            return True
    return False


@lru_cache(maxsize=2)
def _dags(policy: AccessPolicy) -> GlobIndex:
    return GlobIndex(
        (glob, place) for place, compartment in enumerate(policy.compartments) for glob in compartment.dags
    )


class _Readers:
    """All readers of a policy, indexed by the compartments that they may admit.

    Readers are looked up from the consumer's side, so the grants of one identity do not cost as much as those of
    all identities together.
    """

    def __init__(self, policy: AccessPolicy) -> None:
        self._policy = policy
        self._all = [
            (compartment, reader) for compartment in policy.compartments for reader in compartment.readers
        ]
        self._named: dict[str, list[int]] = {}
        globs = []
        self._of_default: list[int] = []
        for number, (_, reader) in enumerate(self._all):
            if reader.compartment is not None:
                self._named.setdefault(reader.compartment, []).append(number)
                continue
            for glob in reader.dags:
                if is_glob(glob):
                    globs.append((glob, number))
                    # The DAGs of the default compartment are not known in advance.
                    self._of_default.append(number)
                elif (named := policy.resolve_dag(glob)) is not None:
                    self._named.setdefault(named.name, []).append(number)
        self._globs = GlobIndex(globs)

    def admitting(self, consumer: Compartment) -> Iterator[tuple[Compartment, Reader]]:
        """Yield the readers of other compartments that may admit DAGs of this one, in the file's order."""
        numbers = set(self._named.get(consumer.name, ()))
        for glob in consumer.dags:
            numbers.update(self._globs.overlapping(glob))
        if consumer is self._policy.default:
            numbers.update(self._of_default)
        for number in sorted(numbers):
            compartment, reader = self._all[number]
            if compartment is not consumer and (
                reader.compartment is None or _meet(self._policy, reader, consumer)
            ):
                yield compartment, reader


@lru_cache(maxsize=2)
def _readers(policy: AccessPolicy) -> _Readers:
    return _Readers(policy)


def _of_workers(policy: AccessPolicy, name: str) -> Iterator[Grant]:
    """Yield the grants of identities that run a compartment's tasks."""
    yield _grant(name, "both")
    for compartment, reader in _readers(policy).admitting(policy.compartment(name)):
        yield _grant(compartment.name, "reader", reader.of_dags, reader.of_tasks)


@lru_cache(maxsize=8192)
def _grant(
    compartment: str, role: str, dags: tuple[str, ...] = _EVERYTHING, tasks: tuple[str, ...] = _EVERYTHING
) -> Grant:
    fields: dict[str, object] = {"compartment": compartment, "as": role}
    if dags != _EVERYTHING or tasks != _EVERYTHING:
        fields["dags"] = dags
    if tasks != _EVERYTHING:
        fields["tasks"] = tasks
    return Grant.model_validate(fields)

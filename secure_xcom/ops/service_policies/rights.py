"""The rights of one identity in one compartment: all its grants together, as narrow as services can express."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.field_types import is_glob
from secure_xcom.core.access_policy.globs import matches
from secure_xcom.core.access_policy.identities import Grant, Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.grants import grants_of

Act = Literal["push", "pull", "rewrap", "look"]
"""``rewrap`` is all of maintenance: rewrap, list, delete, never read. ``look`` sees the settings of a key."""

ACTS: dict[str, tuple[Act, ...]] = {
    "writer": ("push",),
    "reader": ("pull",),
    "both": ("push", "pull"),
    "maintenance": ("rewrap", "look"),
    "operator": ("pull", "look"),
    "fetcher": ("pull",),
    "revealer": ("pull",),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """The limits of an act within a compartment.

    :ivar parts: DAG id -> its task ids, or None for all of its tasks; None for the whole compartment.
    """

    parts: tuple[tuple[str, tuple[str, ...] | None], ...] | None = None

    @property
    def whole(self) -> bool:
        """True for the whole compartment."""
        return self.parts is None

    @property
    def dags(self) -> tuple[str | None, ...]:
        """The DAGs, or one None for all. A bucket's paths can be limited to DAGs."""
        return (None,) if self.parts is None else tuple(dag for dag, _ in self.parts)

    def pairs(self) -> Iterator[tuple[str | None, str | None]]:
        """Yield DAG and task, each None for all."""
        if self.parts is None:
            yield None, None
            return
        for dag, tasks in self.parts:
            for task in (None,) if tasks is None else tasks:
                yield dag, task


@dataclass(frozen=True)
class Right:
    """One act of one identity in one compartment.

    :ivar maintained: for a right to rewrap: every compartment that the identity's AWS principal maintains, under
        any name in the file, because KMS sees the principal.
    """

    identity: Identity
    compartment: Compartment
    act: Act
    scope: Scope
    maintained: tuple[Compartment, ...] = ()
    keys: bool = True
    """False to read sealed payloads only."""
    claims: bool = True
    """False if nothing exclusive is ever read, so nothing is claimed."""


@dataclass(frozen=True)
class Known:
    """The DAG ids that are known when the policy is compiled, for globs.

    :ivar notes: for people: grants that had to be widened or could not be compiled.
    """

    dags: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def rights_of(policy: AccessPolicy, identity: Identity, known: Known) -> tuple[Right, ...]:
    """Return an identity's rights, by compartment in the file's order, one for each act."""
    grants: dict[str, list[Grant]] = {}
    for grant in grants_of(policy, identity):
        grants.setdefault(grant.compartment, []).append(grant)
    rights = []
    for compartment in policy.compartments:
        granted = grants.get(compartment.name)
        if granted is None:
            continue
        for act in ("push", "pull", "rewrap", "look"):
            giving = [grant for grant in granted if act in ACTS[grant.role]]
            if giving:
                scope = together(
                    [
                        scope_of(policy, identity.name, compartment, grant.dags, grant.tasks, known)
                        for grant in giving
                    ]
                )
                if scope.parts != ():
                    maintained = maintained_by(policy, identity) if act == "rewrap" else ()
                    # An identity of the reveal service has grants of one role alone (`loading`).
                    role = giving[0].role
                    keys, claims = role != "fetcher", role not in ("fetcher", "revealer")
                    rights.append(Right(identity, compartment, act, scope, maintained, keys, claims))
    return tuple(rights)


def maintained_by(policy: AccessPolicy, identity: Identity) -> tuple[Compartment, ...]:
    """Return the compartments that an identity maintains, or any identity that is the same principal at AWS."""
    names = _maintained(policy)[_principal(identity)]
    return tuple(compartment for compartment in policy.compartments if compartment.name in names)


@lru_cache(maxsize=2)
def _maintained(policy: AccessPolicy) -> dict[str, set[str]]:
    dags: dict[str, set[str]] = {}
    for identity in policy.identities:
        names = dags.setdefault(_principal(identity), set())
        names.update(grant.compartment for grant in identity.grants if "rewrap" in ACTS[grant.role])
    return dags


def _principal(identity: Identity) -> str:
    # A name is never an ARN, so identities without an AWS principal stay separate.
    return identity.aws.principal if identity.aws else identity.name


def scope_of(
    policy: AccessPolicy,
    who: str,
    compartment: Compartment,
    dag_globs: Sequence[str] | None,
    tasks: Sequence[str] | None,
    known: Known,
) -> Scope:
    """Return the scope of a grant, or of a viewer, in a compartment.

    :param who: the identity or group, for notes.
    :param dag_globs: DAG ids or globs, None for all; :param tasks: task ids or globs, None for all.
    """
    if dag_globs is None and tasks is None:
        return Scope()
    dags: list[str] = []
    for glob in dag_globs or ("*",):
        if not is_glob(glob):
            dags.append(glob)
            continue
        ids = [dag for dag in known.dags if matches(glob, dag) and policy.resolve_dag(dag) is compartment]
        if not ids:
            # Digests have no globs: the service allows the whole compartment, and only the process checks the DAG.
            if glob != "*" or tasks is not None:
                known.notes.append(
                    f"{who}: the glob {glob!r} of {compartment.name} became the whole compartment, "
                    "because the compiler was given no DAG id that it matches (--dag)"
                )
            return Scope()
        dags += ids
    if tasks is not None and any(is_glob(task) for task in tasks):
        if tuple(tasks) != ("*",):
            known.notes.append(
                f"{who}: task globs of {compartment.name} became all tasks of the DAGs, because "
                "services have no globs"
            )
        tasks = None
    return Scope(tuple((dag, None if tasks is None else tuple(tasks)) for dag in dict.fromkeys(dags)))


def together(scopes: Sequence[Scope]) -> Scope:
    """Return everything that is in any of the scopes."""
    parts: dict[str, set[str] | None] = {}
    for scope in scopes:
        if scope.parts is None:
            return Scope()
        for dag, tasks in scope.parts:
            before = parts.get(dag, set())
            parts[dag] = None if tasks is None or before is None else before | set(tasks)
    return Scope(
        tuple((dag, None if tasks is None else tuple(sorted(tasks))) for dag, tasks in sorted(parts.items()))
    )

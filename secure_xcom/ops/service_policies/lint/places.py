"""Lint: places without an owner, places that two share, and ambiguous names."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.access_policy.executors import Executors
from secure_xcom.core.access_policy.field_types import PLAIN_NAME
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.places import Owner, every_place, spelled
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding
from secure_xcom.ops.compartments import carries_identity
from secure_xcom.ops.service_policies.grants import grants_of
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

_WORKS = {"writer", "reader", "both", "maintenance"}
"""Roles of processes that tasks run in; operators are people."""


def findings(policy: AccessPolicy) -> Iterator[Finding]:
    """Return the findings about the places of tasks."""
    workers: dict[str, set[str]] = {}
    for identity in policy.identities:
        for name in identity.workers_of:
            workers.setdefault(name, set()).add(identity.name)
    several = len({frozenset(names) for names in workers.values()}) > 1
    if several:
        yield from _without_place(policy, workers)
    yield from _shared(policy, workers, between_compartments=several)
    yield from _identities(policy, told=several)
    yield from _characters(policy)


def _without_place(policy: AccessPolicy, workers: dict[str, set[str]]) -> Iterator[Finding]:
    """Find compartments with their own workers to which their tasks are not sent."""
    for index, compartment in enumerate(policy.compartments):
        place = compartment.tasks_run_on
        if compartment.name not in workers or carries_identity(place):
            continue
        only = " (a pool counts slots and says nothing of the worker)" if place is not None and place.pool else ""
        yield lint_finding(
            "no-place",
            "warning",
            ("compartments", index, "tasks_run_on"),
            f"{compartment.name!r} has workers of its own, but nothing sends its tasks to them{only}",
            "give it tasks_run_on with a queue, an executor or a service_account",
        )


def _shared(
    policy: AccessPolicy, workers: dict[str, set[str]], *, between_compartments: bool
) -> Iterator[Finding]:
    owners: dict[tuple[str, str], tuple[Owner, str]] = {}
    by_name = {identity.name: identity for identity in policy.identities}
    for owner, field, value, _ in every_place(policy):
        if field == "executor" and _serves_many(owner, value):
            continue
        text = Executors.unknown(value) if field == "executor" else spelled(field, value)
        other, spelling = owners.setdefault((field, text), (owner, value))
        if (other.kind, other.name) == (owner.kind, owner.name) or _belong_together(owner, other, by_name):
            continue
        if owner.kind == other.kind == "compartment" and (
            not between_compartments or workers.get(other.name) == workers.get(owner.name)
        ):
            continue
        same = f"{value!r}" if value == spelling else f"{value!r}, which some brokers interpret as {spelling!r},"
        yield lint_finding(
            "shared-place",
            "warning",
            _path(owner, field),
            f"tasks of {other} run at the {field} {same} as well, on the same workers",
            f"give each its own {field}, or one identity that is workers_of both",
        )


def _serves_many(owner: Owner, executor: str) -> bool:
    """Check whether the entry also names the field that splits the executor: one executor serves many queues."""
    kind = Executors.kind(Executors.unknown(executor))
    return len(owner.fields) > 1 if kind is None else kind.splits_by in owner.fields


def _belong_together(owner: Owner, other: Owner, identities: dict[str, Identity]) -> bool:
    """Check whether one of them is an identity that runs the tasks of the other, a compartment."""
    pairs = ((owner, other), (other, owner))
    return any(
        first.kind == "identity"
        and second.kind == "compartment"
        and second.name in identities[first.name].workers_of
        for first, second in pairs
    )


def _identities(policy: AccessPolicy, *, told: bool) -> Iterator[Finding]:
    owned: dict[str, set[str]] = {}
    closed = False
    for owner, field, value, _ in every_place(policy):
        closed = True
        if field == "service_account":
            owned.setdefault(f"{owner.kind} {owner.name}", set()).add(value)
    for index, identity in enumerate(policy.identities):
        path: Path = ("identities", index)
        places = [policy.compartment(name).tasks_run_on for name in identity.workers_of]
        placed = identity.runs_on is not None or any(map(carries_identity, places))
        works = any(grant.role in _WORKS for grant in grants_of(policy, identity))
        if not placed and told and identity.workers_of:
            # `no-place` reports it for the compartment.
            continue
        if closed and works and not placed:
            yield lint_finding(
                "no-owner",
                "warning",
                path,
                f"nothing says where {identity.name!r} runs, so its queue or service account has no owner",
                "name its places in runs_on: then only DAGs that are named there get them",
            )
        if identity.vault is None or identity.vault.auth != "kubernetes":
            continue
        own_places = owned.get(f"identity {identity.name}", set()).union(
            *(owned.get(f"compartment {name}", set()) for name in identity.workers_of)
        )
        for account in sorted(set(identity.vault.service_accounts) - own_places):
            yield lint_finding(
                "no-owner",
                "warning",
                (*path, "vault", "service_accounts"),
                f"service account {account!r} logs in as {identity.name!r}, and has no owner",
                "name it in the tasks_run_on of its compartment or in the identity's runs_on",
            )


def _characters(policy: AccessPolicy) -> Iterator[Finding]:
    for owner, field, value, _ in every_place(policy):
        if not PLAIN_NAME.fullmatch(value):
            yield lint_finding(
                "place-characters",
                "warning",
                _path(owner, field),
                f"brokers may interpret {value!r} in different ways",
                "use only letters, digits, '_', '.' and '-' in names of places",
            )


def _path(owner: Owner, field: str) -> Path:
    if owner.kind == "compartment":
        return ("compartments", owner.index, "tasks_run_on", field)
    return ("identities", owner.index, "runs_on", field)

"""Lint: identities that share a principal, or have more rights than one identity should."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.access_policy.field_types import is_glob
from secure_xcom.core.access_policy.identities import Grant, Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.grants import grants_of
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

_READS = {"reader", "both", "operator", "revealer"}
_ADMINISTERS = {"maintenance", "operator"}


def findings(policy: AccessPolicy) -> Iterator[Finding]:
    """Return the findings about identities."""
    if not policy.identities:
        return
    yield from _same_principal(policy)
    pushers: set[str] = set()
    for index, identity in enumerate(policy.identities):
        path: Path = ("identities", index)
        grants = grants_of(policy, identity)
        pushers |= {grant.compartment for grant in grants if grant.role in ("writer", "both")}
        yield from _of_one(identity, path)
        yield from _two_hats(identity, grants, path)
        yield from _scopes(policy, identity, grants, path)
        yield from _service_accounts(policy, identity, path)
    for index, compartment in enumerate(policy.compartments):
        if compartment.name not in pushers:
            yield lint_finding(
                "no-workers",
                "warning",
                ("compartments", index),
                f"no identity may push to {compartment.name!r}",
                "name it in some identity's workers_of",
            )


def _of_one(identity: Identity, path: Path) -> Iterator[Finding]:
    if len(identity.workers_of) > 1:
        yield lint_finding(
            "shared-worker",
            "warning",
            (*path, "workers_of"),
            f"one identity runs the tasks of {', '.join(identity.workers_of[:5])}: between these, only our "
            "code decides, and a malicious task on such a worker can read all of them",
            "give each compartment workers with their own identity",
        )
    works = bool(identity.workers_of or identity.grants)
    principal = any((identity.vault, identity.aws, identity.google, identity.azure))
    if identity.runs_on is not None and not works and not principal:
        # It only reserves its places.
        return
    if not principal:
        yield lint_finding(
            "no-principal",
            "warning",
            path,
            f"{identity.name!r} has no principal at any service, so nothing is compiled for it",
            "name its principal: vault, aws, google or azure",
        )
    if not works:
        yield lint_finding("no-grants", "warning", path, f"{identity.name!r} has no rights", "remove it")


def _two_hats(identity: Identity, grants: tuple[Grant, ...], path: Path) -> Iterator[Finding]:
    reads = {grant.compartment for grant in grants if grant.role in _READS - {"operator"}}
    administers = {grant.compartment for grant in grants if grant.role in _ADMINISTERS}
    both = sorted(reads & administers)
    operates = {grant.compartment for grant in grants if grant.role == "operator"}
    maintains = sorted(operates & {grant.compartment for grant in grants if grant.role == "maintenance"})
    if both or maintains:
        yield lint_finding(
            "reads-and-administers",
            "warning",
            path,
            f"{identity.name!r} reads payloads of {', '.join((both or maintains)[:5])} and administers keys or "
            "collects garbage there: whoever compromises it can read, and can hide that",
            "split it into two identities",
        )


def _scopes(policy: AccessPolicy, identity: Identity, grants: tuple[Grant, ...], path: Path) -> Iterator[Finding]:
    whole = {(grant.compartment, grant.role) for grant in grants if grant.dags is None}
    for number, grant in enumerate(identity.grants):
        grant_path = (*path, "grants", number)
        scoped = grant.dags is not None
        if scoped and ({(grant.compartment, grant.role), (grant.compartment, "both")} & whole):
            yield lint_finding(
                "grant-swallowed",
                "warning",
                grant_path,
                f"{identity.name!r} may do this in all of {grant.compartment!r} anyway",
                "remove it, or remove the wider grant",
            )
        compartment = policy.compartment(grant.compartment)
        for place, dag in enumerate(grant.dags or ()):
            if not is_glob(dag) and policy.resolve_dag(dag) is not compartment:
                yield lint_finding(
                    "grant-never",
                    "error",
                    (*grant_path, "dags", place),
                    f"the DAG {dag!r} does not belong to {compartment.name!r}",
                    "correct the id",
                )


def _same_principal(policy: AccessPolicy) -> Iterator[Finding]:
    names: dict[tuple[str, ...], str] = {}
    for index, identity in enumerate(policy.identities):
        for field, principal in _principals(identity):
            other = names.setdefault((field, *principal), identity.name)
            if other != identity.name:
                yield lint_finding(
                    "shared-principal",
                    "warning",
                    ("identities", index, field),
                    f"{identity.name!r} and {other!r} are the same principal at this service: each may do "
                    "what the other may",
                    "make them one identity, or give each its own principal",
                )
                break


def _principals(identity: Identity) -> Iterator[tuple[str, tuple[str, ...]]]:
    vault = identity.vault
    if vault is not None:
        yield "vault", (vault.mount or vault.auth, vault.role or identity.name)
        if vault.auth == "kubernetes":
            for namespace in vault.namespaces:
                for account in vault.service_accounts:
                    yield "vault", (vault.mount or vault.auth, namespace, account)
    if identity.aws is not None:
        yield "aws", (identity.aws.principal,)
    if identity.google is not None:
        yield "google", (identity.google.member,)
    if identity.azure is not None:
        yield "azure", (identity.azure.principal_id,)


def _service_accounts(policy: AccessPolicy, identity: Identity, path: Path) -> Iterator[Finding]:
    if identity.vault is None or identity.vault.auth != "kubernetes":
        return
    for name in identity.workers_of:
        place = policy.compartment(name).tasks_run_on
        account = None if place is None else place.service_account
        if account is not None and account not in identity.vault.service_accounts:
            yield lint_finding(
                "other-service-account",
                "error",
                (*path, "vault", "service_accounts"),
                f"tasks of {name!r} run as service account {account!r}, which cannot log in as {identity.name!r}",
                "write the same service account in both places",
            )

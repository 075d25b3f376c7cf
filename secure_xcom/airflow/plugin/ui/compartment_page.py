"""The access policy as it is in force, with lint's findings and the numbers that maintenance has counted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from secure_xcom.airflow.plugin.ui.counted import Counted
from secure_xcom.airflow.plugin.ui.known_deployment import Deployment
from secure_xcom.airflow.plugin.ui.times import text_of
from secure_xcom.airflow.plugin.ui.who_may import who
from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.glob_relations import holds_in
from secure_xcom.core.access_policy.identities import Grant, Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.findings import SEVERITIES, Finding
from secure_xcom.numbers import Numbers
from secure_xcom.ops.service_policies.grants import grants_of
from secure_xcom.ops.service_policies.lint.access_policy import lint

PAGE = 100
LIST_MAX = 500
_NOT_TRIED = {
    "kind": "uris-not-read",
    "severity": "note",
    "text": "The URIs are not checked against key services and stores here.",
    "remedy": "Run `secure-xcom policy lint` where the workers run.",
    "line": 1,
    "column": 1,
}
_NEVER = (
    "Nothing has been counted yet: the maintenance DAG counts each day, and `secure-xcom ui count` counts now."
)
_NOT_MADE = "The table of numbers does not exist yet: run `secure-xcom ui migrate`, then `secure-xcom ui count`."


def compartments(deployment: Deployment, counted: Counted, *, start: int) -> dict[str, Any]:
    """Return the compartments from the numbered one on; what is about all of them comes with the first."""
    policy = deployment.policy
    every = () if policy is None else policy.compartments
    names = [compartment.name for compartment in every[start : start + PAGE]]
    holders = {} if policy is None else _identities_of(policy, frozenset(names))
    answer: dict[str, Any] = {
        "policy": {
            "state": deployment.state,
            "text": deployment.text,
            "remedy": deployment.remedy,
            "digest": None if policy is None else policy.digest,
        },
        "counted": text_of(counted.time),
        "counted_text": "" if counted.every else (_NEVER if counted.made else _NOT_MADE),
        "compartments": [
            _compartment(
                policy, compartment, holders.get(compartment.name, []), counted.every.get(compartment.name)
            )
            for compartment in every[start : start + PAGE]
            if policy is not None
        ],
    }
    if start == 0:
        lists = {
            "identities": []
            if policy is None
            else [_identity(policy, identity) for identity in policy.identities[:LIST_MAX]],
            "legal_holds": [] if policy is None else [_hold(hold) for hold in policy.legal_holds[:LIST_MAX]],
            "findings": _findings(deployment),
        }
        whole = {
            "identities": 0 if policy is None else len(policy.identities),
            "legal_holds": 0 if policy is None else len(policy.legal_holds),
            "findings": len(lists["findings"]),
        }
        answer |= {name: items[:LIST_MAX] for name, items in lists.items()}
        answer["cut"] = [name for name, size in whole.items() if size > LIST_MAX]
        answer["outside"] = _outside(counted, {compartment.name for compartment in every})
    return answer


def _compartment(
    policy: AccessPolicy, compartment: Compartment, identities: Sequence[str], numbers: Numbers | None
) -> dict[str, Any]:
    return {
        "name": compartment.name,
        "default": compartment is policy.default,
        "dags": list(compartment.dags),
        "bundles": None if compartment.bundles is None else list(compartment.bundles),
        "teams": None if compartment.teams is None else list(compartment.teams),
        "key_uris": list(compartment.key_uris),
        "store_uri": compartment.store_uri,
        "former_store_uris": list(compartment.former_store_uris),
        "routes": [
            {
                "keys": list(route.keys or ()),
                "sensitive": bool(route.sensitive),
                "store_uri": route.store_uri,
                "key_uris": None if route.key_uris is None else list(route.key_uris),
            }
            for route in compartment.routes
        ],
        "readers": [
            {"text": who(reader, of=True), **reader.model_dump(mode="json", include=_READER)}
            for reader in compartment.readers
        ],
        "retention": compartment.retention,
        "retention_of": [
            {"keys": list(entry.keys), "retention": entry.retention} for entry in compartment.retention_of
        ],
        "exclusive": list(compartment.exclusive),
        "max_bytes": compartment.max_bytes,
        "runs_on": []
        if compartment.tasks_run_on is None
        else [{"field": field, "value": value} for field, value in compartment.tasks_run_on.places],
        "identities": list(identities),
        "legal_holds": [hold.name for hold in holds_in(policy, compartment)],
        "numbers": None if numbers is None else _numbers(numbers),
    }


_READER = {"compartment", "dags", "tasks", "of_dags", "of_tasks"}


def _numbers(numbers: Numbers) -> dict[str, Any]:
    versions = numbers.versions.values()
    return {
        "xcoms": numbers.xcoms,
        "bytes": numbers.bytes,
        "plaintext": numbers.plaintext,
        "expired": numbers.expired,
        "unreadable": numbers.unreadable,
        "oldest_version": min((oldest for oldest, _ in versions), default=None),
        "newest_version": max((newest for _, newest in versions), default=None),
        "keys": [
            {"uri": uri, "oldest_version": oldest, "newest_version": newest}
            for uri, (oldest, newest) in sorted(numbers.versions.items())
        ],
        "first_pushed": text_of(numbers.first_pushed),
        "last_pull": text_of(numbers.last_pull),
    }


def _outside(counted: Counted, names: set[str]) -> dict[str, int]:
    """Return what was counted outside the policy's compartments, such as of one that was since taken away."""
    others = [numbers for name, numbers in counted.every.items() if name not in names]
    fields = ("xcoms", "plaintext", "unreadable")
    return {field: sum(getattr(numbers, field) for numbers in others) for field in fields}


def _identity(policy: AccessPolicy, identity: Identity) -> dict[str, Any]:
    return {
        "name": identity.name,
        "workers_of": list(identity.workers_of),
        "principals": _principals(identity),
        "grants": [_grant(grant) for grant in grants_of(policy, identity)[:LIST_MAX]],
    }


def _principals(identity: Identity) -> list[str]:
    principals = [] if identity.vault is None else [f"Vault: {identity.vault.auth}"]
    principals += [] if identity.aws is None else [f"AWS: {identity.aws.principal}"]
    principals += [] if identity.google is None else [f"Google: {identity.google.member}"]
    return principals + ([] if identity.azure is None else [f"Entra: {identity.azure.principal_id}"])


def _grant(grant: Grant) -> dict[str, Any]:
    return {
        "compartment": grant.compartment,
        "as": grant.role,
        "dags": None if grant.dags is None else list(grant.dags),
        "tasks": None if grant.tasks is None else list(grant.tasks),
    }


def _hold(hold: Any) -> dict[str, Any]:
    return {"name": hold.name, "dags": list(hold.dags), "runs": list(hold.runs), "reason": hold.reason}


@lru_cache(maxsize=8)
def _identities_of(policy: AccessPolicy, names: frozenset[str]) -> dict[str, list[str]]:
    by_compartment: dict[str, dict[str, None]] = {name: {} for name in names}
    for identity in policy.identities:
        for grant in grants_of(policy, identity):
            if grant.compartment in by_compartment:
                by_compartment[grant.compartment][identity.name] = None
    return {name: list(identities) for name, identities in by_compartment.items()}


def _findings(deployment: Deployment) -> list[dict[str, Any]]:
    if deployment.raw is None:
        return []
    return [_NOT_TRIED, *(_finding(finding) for finding in _lint_findings(deployment.raw, deployment.text))]


@lru_cache(maxsize=2)
def _lint_findings(raw: bytes, where: str) -> Sequence[Finding]:
    """Return lint's findings.

    Connections of the environment are left alone, as they hold passwords, and so are the rules that read URIs with
    the code of key services and stores, which the API server does not load.
    """
    try:
        return lint(raw, where=where)
    except SecureXComError:
        # A file that is not even YAML is told as a policy that cannot be used.
        return ()


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.rule,
        "severity": SEVERITIES[finding.status],
        "text": finding.text,
        "remedy": finding.remedy,
        "line": finding.line,
        "column": finding.column,
    }

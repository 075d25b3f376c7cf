"""Compile for Azure Blob Storage: role assignments on each container, with conditions on the blob's path.

Sources: Azure Storage, "Actions and attributes for Azure role assignment conditions for Azure Blob Storage" and
"Example Azure role assignment conditions for Blob Storage"; Azure RBAC, "Troubleshoot Azure RBAC". A condition
applies to the data actions of the roles below. Fill in ``{...}`` in a scope when you deploy. Not tested on Azure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from secure_xcom.ops.service_policies.payload_prefixes import below, buckets
from secure_xcom.ops.service_policies.rights import Act, Right

_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_ACTIONS: dict[Act, tuple[str, ...]] = {
    # Blocks of a large payload are written, then committed; a small payload is added.
    "push": (f"{_BLOBS}/add/action", f"{_BLOBS}/write"),
    "pull": (f"{_BLOBS}/read",),
    "rewrap": (f"{_BLOBS}/delete",),
}
# Azure accepts descriptions of up to 1,024 characters.
_DESCRIPTION = 1024
_NAMES: dict[Act, str] = {
    "push": "secure-xcom push",
    "pull": "secure-xcom pull",
    "rewrap": "secure-xcom maintenance",
}


_ABOUT: dict[Act, str] = {
    "push": "Create payloads. Azure has no right to write without the right to overwrite.",
    "pull": "Read payloads, which are sealed. Names are not listed.",
    "rewrap": "List and delete payloads, and read none: the assignment's condition leaves listing alone of read.",
}


_CLAIMS: dict[Act, tuple[Act, ...]] = {"pull": ("push", "pull"), "rewrap": ("rewrap", "pull")}


def roles() -> list[dict[str, Any]]:
    """Return the custom roles that assignments name."""
    return [
        {
            "roleName": _NAMES[act],
            "description": _ABOUT[act],
            "type": "CustomRole",
            "assignableScopes": ["/subscriptions/{SUBSCRIPTION}"],
            "permissions": [
                {
                    "actions": [],
                    "notActions": [],
                    # Listing is a sub-operation of read.
                    "dataActions": [*actions, *((f"{_BLOBS}/read",) if act == "rewrap" else ())],
                    "notDataActions": [],
                }
            ],
        }
        for act, actions in _ACTIONS.items()
    ]


def assignments(rights: Sequence[Right]) -> dict[str, list[dict[str, Any]]]:
    """Return container -> role assignments.

    Azure keeps one assignment for each scope, role and principal (RoleAssignmentExists), so all rights of a
    principal with a role in a container are one assignment. Its prefixes are alternatives of one condition.
    """
    roles: dict[tuple[str, str, Act, str], tuple[Right, list[str], list[str]]] = {}
    for right in rights:
        if right.identity.azure is None or right.act == "look":
            continue
        compartment = right.compartment
        for place in buckets(
            compartment.written_store_uris if right.act == "push" else compartment.all_store_uris, "abfs"
        ):
            account = place.options.get("account", "{ACCOUNT}")
            key = (place.bucket, account, right.act, right.identity.azure.principal_id)
            _, names, texts = roles.setdefault(key, (right, [], []))
            names += [f"{right.identity.name} in {compartment.name}"]
            texts += [below(place, compartment, dag) for dag in right.scope.dags]
            # A pull creates and reads claims; maintenance reads and deletes them.
            for act in _CLAIMS.get(right.act, ()) if compartment.exclusive and right.claims else ():
                more = (place.bucket, account, act, right.identity.azure.principal_id)
                _, names, texts = roles.setdefault(more, (right, [], []))
                names += [f"{right.identity.name} in {compartment.name}"]
                texts += [below(place, compartment, dag, claims=True) for dag in right.scope.dags]
    rows: dict[str, list[dict[str, Any]]] = {}
    for (container, account, act, principal), (right, names, texts) in roles.items():
        kind = right.identity.azure.principal_type if right.identity.azure else "ServicePrincipal"
        rows.setdefault(container, []).append(
            {
                "scope": "/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Storage/"
                f"storageAccounts/{account}/blobServices/default/containers/{container}",
                "roleName": _NAMES[act],
                "principalId": principal,
                "principalType": kind,
                "description": f"secure_xcom: {act}, {', '.join(dict.fromkeys(names))}"[:_DESCRIPTION],
                "conditionVersion": "2.0",
                "condition": _condition(act, list(dict.fromkeys(texts))),
            }
        )
    return dict(sorted(rows.items()))


def _condition(act: Act, prefixes: Sequence[str]) -> str:
    paths = " OR ".join(f"@Resource[{_BLOBS}:path] StringStartsWith '{prefix}'" for prefix in prefixes)
    # Listing has no path, so a test of the path must not apply to it: "Read a blob" is read and not Blob.List.
    reads = f"ActionMatches{{'{_BLOBS}/read'}} AND NOT SubOperationMatches{{'Blob.List'}}"
    lists = f"ActionMatches{{'{_BLOBS}/read'}} AND SubOperationMatches{{'Blob.List'}}"
    if act == "pull":
        # The second clause is true for everything but listing. Without it, a reader could also list names.
        return f"((!({reads})) OR ({paths})) AND (!({lists}))"
    clauses = [f"((!(ActionMatches{{'{action}'}})) OR ({paths}))" for action in _ACTIONS[act]]
    if act == "rewrap":
        listings = " OR ".join(f"@Request[{_BLOBS}:prefix] StringStartsWith '{prefix}'" for prefix in prefixes)
        clauses += [f"(!({reads}))", f"((!({lists})) OR ({listings}))"]
    return " AND ".join(clauses)

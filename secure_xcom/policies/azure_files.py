"""For Azure Blob Storage: role assignments on each container, conditioned on the path of the blob.

Source: Azure Storage, "Example Azure role assignment conditions for Blob Storage". A condition holds for the data
actions of the roles below; ``{...}`` in a scope is filled in by whoever deploys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from secure_xcom.policies.places import below, buckets
from secure_xcom.policies.rights import Act, Right

_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_ACTIONS: dict[Act, tuple[str, ...]] = {
    # Blocks of a large payload are written, then committed; a small one is added.
    "push": (f"{_BLOBS}/add/action", f"{_BLOBS}/write"),
    "pull": (f"{_BLOBS}/read",),
    "rewrap": (f"{_BLOBS}/delete",),
}
_NAMES: dict[Act, str] = {
    "push": "secure-xcom push",
    "pull": "secure-xcom pull",
    "rewrap": "secure-xcom maintenance",
}


def roles() -> list[dict[str, Any]]:
    """The custom roles that assignments name."""
    return [
        {
            "roleName": _NAMES[act],
            "type": "CustomRole",
            "permissions": [
                {
                    "actions": [],
                    # Listing is a sub-operation of read: the assignment's condition leaves nothing else of it.
                    "dataActions": [*actions, *((f"{_BLOBS}/read",) if act == "rewrap" else ())],
                }
            ],
        }
        for act, actions in _ACTIONS.items()
    ]


def assignments(rights: Sequence[Right]) -> dict[str, list[dict[str, Any]]]:
    """Container -> role assignments."""
    found: dict[str, list[dict[str, Any]]] = {}
    for right in rights:
        if right.identity.azure is None or right.act == "look":
            continue
        own = right.compartment
        for place in buckets(own.written_store_uris if right.act == "push" else own.all_store_uris, "abfs"):
            account = place.options.get("account", "{ACCOUNT}")
            texts = [below(place, own, dag) for dag in right.scope.dags]
            assignment = {
                "scope": "/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Storage/"
                f"storageAccounts/{account}/blobServices/default/containers/{place.bucket}",
                "roleName": _NAMES[right.act],
                "principalId": right.identity.azure.principal_id,
                "principalType": right.identity.azure.principal_type,
                "description": f"secure_xcom: {right.identity.name}, {right.act} in {own.name}",
                "conditionVersion": "2.0",
                "condition": _condition(right.act, texts),
            }
            rows = found.setdefault(place.bucket, [])
            if assignment not in rows:
                rows.append(assignment)
    return dict(sorted(found.items()))


def _condition(act: Act, prefixes: Sequence[str]) -> str:
    paths = " OR ".join(f"@Resource[{_BLOBS}:path] StringStartsWith '{prefix}'" for prefix in prefixes)
    clauses = [f"((!(ActionMatches{{'{action}'}})) OR ({paths}))" for action in _ACTIONS[act]]
    if act == "pull":
        # Without this a reader would list the names of its prefix's blobs as well.
        clauses.append(f"(!(ActionMatches{{'{_BLOBS}/read'}} AND SubOperationMatches{{'Blob.List'}}))")
    if act == "rewrap":
        asked = " OR ".join(f"@Request[{_BLOBS}:prefix] StringStartsWith '{prefix}'" for prefix in prefixes)
        read = f"ActionMatches{{'{_BLOBS}/read'}}"
        clauses.append(f"((!({read})) OR (SubOperationMatches{{'Blob.List'}} AND ({asked})))")
    return " AND ".join(clauses)

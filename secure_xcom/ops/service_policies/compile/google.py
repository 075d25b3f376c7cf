"""Compile for Google Cloud Storage: IAM bindings of each bucket, with conditions on the object name's prefix.

Sources: Cloud Storage, "Set IAM Conditions on buckets" (uniform bucket-level access, policy version 3, the form of
an object's name); IAM, "Attribute reference for IAM Conditions". Listing is a right on the bucket, whose condition
can only name the bucket: maintenance sees the names of all objects, and reads none. (The attribute
``storage.googleapis.com/objectListPrefix`` is documented for credential access boundaries.) Not tested on Google
Cloud.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from secure_xcom.ops.service_policies.payload_prefixes import claim_prefixes, prefixes
from secure_xcom.ops.service_policies.rights import Right

ROLES: dict[str, dict[str, Any]] = {
    # In the form of `gcloud iam roles create NAME --file`. Without objects.delete, nothing can be overwritten.
    name: {"title": f"secure_xcom {word}", "description": about, "stage": "GA", "includedPermissions": permissions}
    for name, word, about, permissions in (
        ("secureXcomPush", "push", "Create payloads, and overwrite none.",
            ["storage.multipartUploads.abort", "storage.multipartUploads.create",
             "storage.multipartUploads.listParts", "storage.objects.create"]),
        ("secureXcomPull", "pull", "Read payloads, which are sealed.", ["storage.objects.get"]),
        ("secureXcomDelete", "delete", "Delete payloads, and read none.", ["storage.objects.delete"]),
        ("secureXcomList", "list", "See the names of payloads.", ["storage.objects.list"]),
    )
}  # fmt: skip
_ROLE = {"push": "secureXcomPush", "pull": "secureXcomPull", "rewrap": "secureXcomDelete"}
# For claims: a pull creates and reads them, maintenance reads and deletes them.
_CLAIMS = {"pull": ("secureXcomPush", "secureXcomPull"), "rewrap": ("secureXcomDelete", "secureXcomPull")}
# An expression may have twelve logical operators (IAM, "Quotas and limits").
_IN_ONE_CONDITION = 10


def bindings(rights: Sequence[Right]) -> dict[str, list[dict[str, Any]]]:
    """Return bucket -> bindings. ``PROJECT`` in a role's name is the project of the custom roles."""
    by_bucket_name: dict[str, list[dict[str, Any]]] = {}
    for right in rights:
        if right.identity.google is None or right.act == "look":
            continue
        by_bucket: dict[str, list[str]] = {}
        for place in prefixes(right, "gs"):
            by_bucket.setdefault(place.bucket, []).append(place.prefix)
        for bucket, texts in by_bucket.items():
            title = f"secure-xcom {right.act} {right.compartment.name}"
            names = [f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{text}")' for text in texts]
            for start in range(0, len(names), _IN_ONE_CONDITION):
                expression = " || ".join(names[start : start + _IN_ONE_CONDITION])
                by_bucket_name.setdefault(bucket, []).append(_binding(right, _ROLE[right.act], title, expression))
            claims = [place.prefix for place in claim_prefixes(right, "gs") if place.bucket == bucket]
            for role in _CLAIMS.get(right.act, ()) if claims else ():
                names = [
                    f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{text}")' for text in claims
                ]
                for start in range(0, len(names), _IN_ONE_CONDITION):
                    expression = " || ".join(names[start : start + _IN_ONE_CONDITION])
                    by_bucket_name[bucket].append(_binding(right, role, f"{title} claims", expression))
            if right.act == "rewrap":
                expression = f'resource.name == "projects/_/buckets/{bucket}"'
                by_bucket_name[bucket].append(_binding(right, "secureXcomList", f"{title} list", expression))
    return dict(sorted(by_bucket_name.items()))


def _binding(right: Right, role: str, title: str, expression: str) -> dict[str, Any]:
    member = right.identity.google.member if right.identity.google else ""
    return {
        "role": f"projects/PROJECT/roles/{role}",
        "members": [member],
        # Google accepts titles of up to 100 characters.
        "condition": {"title": title[:100], "description": right.identity.name, "expression": expression},
    }

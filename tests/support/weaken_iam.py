"""Every way to weaken one thing in a compiled policy document of AWS, and every way to take one thing away."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Statement = dict[str, Any]
Changes = Iterator[tuple[str, Statement | None]]
# What a statement could be given besides: of S3 and of KMS, each with what an attacker would want of it.
ACTIONS = {
    "s3": (
        "s3:*",
        "s3:GetObject",
        "s3:GetObjectVersion",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:ListBucket",
    ),
    "kms": (
        "kms:*",
        "kms:Encrypt",
        "kms:Decrypt",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
        "kms:GenerateDataKey",
        "kms:CreateGrant",
        "kms:PutKeyPolicy",
        "kms:ScheduleKeyDeletion",
        "kms:DescribeKey",
        "kms:GetKeyRotationStatus",
    ),
}
OTHER_PRINCIPAL = "arn:aws:iam::111122223333:role/outsider"


def weakened(document: Statement) -> Iterator[tuple[str, Statement]]:
    """What was changed, and the document with that one change: each gives more, or forbids less."""
    for number, one in enumerate(document["Statement"]):
        ways = _denies_less(one) if one["Effect"] == "Deny" else _allows_more(one)
        for what, changed in ways:
            action = what.removeprefix("with ")
            if action != what and (_has_already(document, one, action) or _of_no_use(one, action)):
                continue
            yield f"{one['Sid']}: {what}", _with(document, number, changed)


def narrowed(document: Statement) -> Iterator[tuple[str, Statement]]:
    """The same, each giving less: what somebody needs is gone."""
    for number, one in enumerate(document["Statement"]):
        if one["Effect"] == "Allow":
            yield f"{one['Sid']}: gone", _with(document, number, None)
            for part in ("Action", "Resource"):
                for what, changed in _without(one, part):
                    yield f"{one['Sid']}: {what}", _with(document, number, changed)


def _has_already(document: Statement, one: Statement, action: str) -> bool:
    """Whether the same holder has an action already, on no fewer resources and with no other condition."""
    return any(
        action in other["Action"]
        and other.get("Principal") == one.get("Principal")
        and set(one["Resource"]) <= set(other["Resource"])
        and all(
            one.get("Condition", {}).get(operator, {}).get(key) == values
            for operator, keys in other.get("Condition", {}).items()
            for key, values in keys.items()
        )
        for other in document["Statement"]
        if other is not one and other["Effect"] == "Allow"
    )


def _of_no_use(one: Statement, action: str) -> bool:
    """Whether AWS never joins an action and these resources: listing is of buckets, the rest of objects.

    Nor an action and this condition: of all requests a ReEncrypt alone tells of the pair of keys.
    """
    if (
        "kms:ReEncryptOnSameKey" in one.get("Condition", {}).get("Bool", {})
        and "kms:ReEncryptFrom" in one["Action"]
    ):
        return not action.startswith("kms:ReEncrypt")
    of_bucket = all(resource.startswith("arn:") and "/" not in resource for resource in one["Resource"])
    return action.startswith("s3:") and action != "s3:*" and (action == "s3:ListBucket") != of_bucket


def _with(document: Statement, number: int, changed: Statement | None) -> Statement:
    kept = [*document["Statement"][:number], *([changed] if changed else []), *document["Statement"][number + 1 :]]
    return {**document, "Statement": kept}


def _without(one: Statement, part: str) -> Iterator[tuple[str, Statement]]:
    for value in one[part] if len(one[part]) > 1 else ():
        yield f"without {value}", {**one, part: [kept for kept in one[part] if kept != value]}


def _allows_more(one: Statement) -> Changes:
    for action in ACTIONS[one["Action"][0].split(":")[0]]:
        if action not in one["Action"]:
            yield f"with {action}", {**one, "Action": [*one["Action"], action]}
    for resource in one["Resource"]:
        for wider in _wider(resource):
            yield f"{resource} as {wider}", {**one, "Resource": [*one["Resource"], wider]}
    if "Principal" in one:
        yield "any principal", {**one, "Principal": {"AWS": "*"}}
        yield "another principal", {**one, "Principal": {"AWS": OTHER_PRINCIPAL}}
    for operator, keys in one.get("Condition", {}).items():
        for key, values in keys.items():
            changed = copy.deepcopy(one)
            del changed["Condition"][operator][key]
            yield f"no {key}", changed
            if operator == "StringLike":
                for value in values:
                    for wider in _wider(value):
                        changed = copy.deepcopy(one)
                        changed["Condition"][operator][key] = [*values, wider]
                        yield f"{key} {value} as {wider}", changed


def _wider(resource: str) -> Iterator[str]:
    """The resource with ever fewer of its parts, until it is everything."""
    if resource == "*":
        return
    parts = resource.split("/")
    for length in range(len(parts) - 2, 0, -1):
        yield "/".join([*parts[:length], "*"])
    yield "*"


def _denies_less(one: Statement) -> Changes:
    yield "gone", None
    for part in ("Action", "Resource"):
        yield from _without(one, part)
    for resource in one["Resource"]:
        if resource.endswith("/*"):
            kept = [value for value in one["Resource"] if value != resource]
            yield f"{resource} with a part more", {**one, "Resource": [*kept, f"{resource[:-1]}x/*"]}
    for operator, keys in one.get("Condition", {}).items():
        for key, values in keys.items():
            changed = copy.deepcopy(one)
            if operator in ("ArnNotEquals", "StringNotEquals"):
                # Whoever is named here is not denied.
                more = OTHER_PRINCIPAL if "Arn" in key else "sales"
                changed["Condition"][operator][key] = [*values, more]
            else:
                changed["Condition"][operator][key] = "false" if values == "true" else "true"
            yield f"{key} otherwise", changed

"""Policy documents at AWS: recognize our statements, and merge them with others' statements."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from secure_xcom.core.operator_errors import AwsRefused
from secure_xcom.ops.service_policies.compile.aws_statements import SID

Document = dict[str, Any]
_LISTS = ("Action", "NotAction", "Resource", "NotResource")


def is_ours(statement: Mapping[str, Any], name: str = "Sid") -> bool:
    """Check by its name whether a statement, or with ``ID`` a lifecycle rule, is ours."""
    return str(statement.get(name) or "").startswith(SID)


def merged(current: Document | None, desired: Document) -> Document:
    """Return the existing document with every foreign statement unchanged, followed by ours."""
    if current is None:
        return desired
    foreign = [statement for statement in _many(current.get("Statement") or []) if not is_ours(statement)]
    # The version stays: others' statements may mean something else under another version, and ours do not.
    return {**current, "Statement": [*foreign, *desired["Statement"]]}


def same(one: Document | None, other: Document | None) -> bool:
    """Check whether two documents are equivalent. AWS may unwrap lists of one and change the order."""
    return _plain(one) == _plain(other)


def difference(current: object, desired: object) -> tuple[str, ...]:
    """Return the change as a diff; empty if nothing exists yet."""
    if current is None:
        return ()
    before, after = (
        json.dumps(_plain(document), indent=2, sort_keys=True).splitlines() for document in (current, desired)
    )
    return tuple(difflib.unified_diff(before, after, "current", "desired", lineterm="", n=2))


def refuse_lock_out(document: Document, account: str, where: str) -> None:
    """Check that the account can still change a key's policy, as AWS's own safety check does.

    Source: KMS API reference, PutKeyPolicy, BypassPolicyLockoutSafetyCheck. Only AWS support can recover a key
    whose policy nobody may change.

    :raises AwsRefused: nobody in the account could change it.
    """
    statements = _many(document["Statement"])
    gives = any(
        statement["Effect"] == "Allow" and _changes_policies(statement, account) for statement in statements
    )
    takes = any(
        statement["Effect"] == "Deny" and _changes_policies(statement, account) for statement in statements
    )
    if not gives or takes:
        raise AwsRefused(
            "with this policy, nobody in the account could change the key's policy again",
            where=where,
            remedy=f"let arn:aws:iam::{account}:root have kms:PutKeyPolicy without a condition",
        )


def _changes_policies(statement: Mapping[str, Any], account: str) -> bool:
    """Check whether a statement covers PutKeyPolicy for the whole account. A denial may have any condition."""
    denies = bool(statement["Effect"] == "Deny")
    if "NotAction" in statement or "NotPrincipal" in statement:
        return denies
    principal = statement.get("Principal")
    who = _many(principal.get("AWS", []) if isinstance(principal, Mapping) else principal or [])
    everyone = any(name in ("*", account) or f"::{account}:root" in str(name) for name in who)
    actions = {str(action).lower() for action in _many(statement.get("Action") or [])}
    about = any(_begins(action, "kms:putkeypolicy") for action in actions)
    return everyone and about and (denies or "Condition" not in statement)


def _begins(pattern: str, action: str) -> bool:
    return pattern == action or (pattern.endswith("*") and action.startswith(pattern.rstrip("*")))


def _many(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {
            str(key): sorted(_many(item))
            if key in _LISTS
            else _principal(item)
            if key == "Principal"
            else _plain(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        plain = [_plain(item) for item in value]
        return _unlisted(plain)
    return value


def _principal(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): sorted(map(str, _many(names))) for key, names in value.items()}
    return value


def _unlisted(values: Iterable[object]) -> object:
    """Return a list of texts sorted, and a single text by itself, as AWS returns conditions."""
    items = list(values)
    if items and all(isinstance(item, str) for item in items):
        return sorted(map(str, items)) if len(items) > 1 else items[0]
    return items

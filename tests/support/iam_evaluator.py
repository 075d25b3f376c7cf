"""AWS's evaluation of policy documents, for just the operators that the compiler writes.

Held against AWS's documented examples in `tests.unit.support.test_iam_evaluator`. An operator that is not known is
an error, so a new one is not taken for granted. Sources: IAM User Guide, "IAM JSON policy elements: Condition
operators", "Multivalued context keys", "Policy evaluation logic".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request; context values are texts, or lists for keys with several values."""

    principal: str
    action: str
    resource: str
    context: Mapping[str, str | list[str]] = field(default_factory=dict)


def evaluate(document: Mapping[str, Any], request: Request) -> str:
    """``deny`` where a statement says so, else ``allow`` where one does, else ``none``."""
    effects = {one["Effect"] for one in document["Statement"] if _applies(one, request)}
    return "deny" if "Deny" in effects else "allow" if "Allow" in effects else "none"


def _applies(statement: Mapping[str, Any], request: Request) -> bool:
    principal = statement.get("Principal")
    if principal is not None:
        allowed = _many(principal["AWS"] if isinstance(principal, dict) else principal)
        account = request.principal.split(":")[4]
        if not {"*", request.principal, f"arn:aws:iam::{account}:root"} & set(allowed):
            return False
        # The account stands for whoever its own IAM allows; of that nothing is known here but for root itself.
        if f"arn:aws:iam::{account}:root" in allowed and not request.principal.endswith((":root", "/admin")):
            return False
    return (
        any(like(pattern.lower(), request.action.lower()) for pattern in _many(statement["Action"]))
        and any(like(pattern, request.resource) for pattern in _many(statement["Resource"]))
        and all(
            _holds(operator, key, _many(wanted), request.context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _holds(operator: str, key: str, wanted: Sequence[str], context: Mapping[str, str | list[str]]) -> bool:
    given = None if key not in context else _many(context[key])
    if operator == "Null":
        return (given is None) == (wanted[0] == "true")
    if operator in ("StringNotEquals", "ArnNotEquals"):
        # Negated operators hold where the key is not there.
        return given is None or all(value not in wanted for value in given)
    if given is None:
        return False
    if operator in ("StringEquals", "Bool"):
        return given[0] in wanted
    if operator == "DateLessThan":
        # All in UTC and in one form, which sorts by time.
        return given[0] < wanted[0]
    if operator == "StringLike":
        return any(like(pattern, given[0]) for pattern in wanted)
    if operator == "ForAnyValue:StringEquals":
        return any(value in wanted for value in given)
    raise AssertionError(f"no such operator here: {operator}")


def like(pattern: str, text: str) -> bool:
    """Whether IAM's wildcards take a text; ``${`` would begin a variable, and none is written."""
    assert "${" not in pattern
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None


def _many(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)

"""Lint: policy documents of AWS, compiled or written by hand: of identities, keys and buckets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from secure_xcom.core.access_policy.globs import matches
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding, Status
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

_USE = ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo")
# Whoever can create grants can create one for itself, so this is both.
_OPEN = ("kms:Decrypt", "kms:ReEncryptFrom", "kms:CreateGrant")
_MOVE = ("kms:ReEncryptFrom", "kms:ReEncryptTo")
_ADMINISTER = (
    "kms:CreateGrant",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "kms:DisableKey",
    "kms:UpdateAlias",
)
_COMPARTMENT = "kms:encryptioncontext:compartment"


def of_document(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Return the findings about a policy document."""
    listed = document.get("Statement")
    several = isinstance(listed, list)
    pairs: list[tuple[Mapping[str, Any], Path]] = [
        (statement, ("Statement", index) if several else ("Statement",))
        for index, statement in enumerate(_listed(listed))
        if isinstance(statement, Mapping)
    ]
    for statement, path in pairs:
        yield from _of_statement(statement, path)
    yield from _two_hats(pairs)
    yield from _across(pairs)
    if _of_bucket(pairs):
        yield from _bucket(pairs)
    if any(
        "Principal" in statement and any(_allows(statement, action) for action in _USE) for statement, _ in pairs
    ):
        yield from _key(pairs)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _texts(statement: Mapping[str, Any], name: str) -> list[str]:
    return [str(text) for text in _listed(statement.get(name))]


def _allows(statement: Mapping[str, Any], action: str) -> bool:
    return statement.get("Effect") == "Allow" and _names(statement, action)


def _names(statement: Mapping[str, Any], action: str) -> bool:
    if "NotAction" in statement:
        return not any(matches(pattern.lower(), action.lower()) for pattern in _texts(statement, "NotAction"))
    return any(matches(pattern.lower(), action.lower()) for pattern in _texts(statement, "Action"))


def _of_statement(statement: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    allow = statement.get("Effect") == "Allow"
    for name in ("NotAction", "NotResource", "NotPrincipal"):
        if name in statement:
            status: Status = "error" if allow else "warning"
            text = "allows everything except what it names" if allow else "denies everything except what it names"
            yield lint_finding("aws-not", status, (*path, name), f"{name} {text}", f"write {name[3:]}")
    if not allow:
        return
    for action in _texts(statement, "Action"):
        if "*" in action or "?" in action:
            yield lint_finding(
                "aws-wildcard-action",
                "error",
                (*path, "Action"),
                f"{action!r} also allows actions that AWS adds later",
                "name each action",
            )
    yield from _resources(statement, path)
    if _anybody(statement.get("Principal")):
        yield lint_finding(
            "aws-wildcard-principal", "error", (*path, "Principal"), "everyone is allowed", "name the principals"
        )
    if any(_names(statement, action) for action in _USE):
        yield from _context(statement, path)


def _anybody(principal: Any) -> bool:
    named = principal.values() if isinstance(principal, Mapping) else [principal]
    return any(text == "*" for value in named for text in _listed(value))


def _resources(statement: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    condition = statement.get("Condition")
    for resource in _texts(statement, "Resource"):
        text = ""
        if resource == "*" and "Principal" not in statement:
            text = "everything is allowed"
        elif ":s3:::" in resource and resource.partition(":s3:::")[2].partition("/")[2].startswith(("*", "?")):
            text = f"{resource!r} is a whole bucket, with every compartment in it"
        elif ":kms:" in resource and resource.endswith("key/*") and "kms:ResourceAliases" not in str(condition):
            text = f"{resource!r} is every key"
        if text:
            yield lint_finding(
                "aws-wildcard-resource",
                "error",
                (*path, "Resource"),
                text,
                "name keys, or prefixes of compartments",
            )


def _context(statement: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    condition = statement.get("Condition")
    tests = {
        str(operator): {str(key).lower(): value for key, value in keys.items()}
        for operator, keys in (condition.items() if isinstance(condition, Mapping) else ())
        if isinstance(keys, Mapping)
    }
    if _COMPARTMENT in tests.get("StringEquals", {}):
        return
    other = [operator for operator, keys in tests.items() if _COMPARTMENT in keys]
    yield lint_finding(
        "aws-context",
        "error",
        (*path, "Condition") if tests else path,
        f"{other[0]} does not limit the compartment to one name"
        if other
        else "the key may be used without the compartment in the encryption context",
        'write {"StringEquals": {"kms:EncryptionContext:compartment": "NAME"}}',
    )


def _two_hats(pairs: Sequence[tuple[Mapping[str, Any], Path]]) -> Iterator[Finding]:
    opens: dict[str, Path] = {}
    rules: dict[str, Path] = {}
    for statement, path in pairs:
        for who in _who(statement):
            if any(_allows(statement, action) for action in _OPEN):
                opens.setdefault(who, path)
            if any(_allows(statement, action) for action in _ADMINISTER):
                rules.setdefault(who, path)
    for who in sorted(set(opens) & set(rules)):
        yield lint_finding(
            "aws-reads-and-administers",
            "error",
            rules[who],
            f"{who or 'this identity'} may open with the key and change its policy, grants or life",
            "give one of the two to another principal",
        )


def _across(pairs: Sequence[tuple[Mapping[str, Any], Path]]) -> Iterator[Finding]:
    """Find principals that may ReEncrypt in the contexts of several compartments."""
    movers: dict[str, dict[str, tuple[set[str], Path]]] = {}
    for statement, path in pairs:
        if any(_allows(statement, action) for action in _MOVE):
            same_key = _condition(statement, "Bool", "kms:ReEncryptOnSameKey") == "true"
            # If kept on one key, only wraps of that key can be rewrapped for another compartment.
            keys = sorted(_texts(statement, "Resource")) if same_key else ["any"]
            for who in _who(statement):
                for key in keys:
                    names, _ = movers.setdefault(who, {}).setdefault(
                        f"{key} {_aliases(statement) if same_key else ''}", (set(), path)
                    )
                    names.update(_compartments(statement))
    for who, by_key in movers.items():
        for names, path in by_key.values():
            if len(names) > 1:
                yield lint_finding(
                    "aws-re-encrypt",
                    "error",
                    path,
                    f"{who or 'this identity'} may ReEncrypt in the contexts of {', '.join(sorted(names)[:5])}: "
                    "it can wrap what is of one compartment for another",
                    'write {"Bool": {"kms:ReEncryptOnSameKey": "true"}}, and give each compartment its own key',
                )
                break


def _compartments(statement: Mapping[str, Any]) -> set[str]:
    condition = statement.get("Condition")
    tests = condition.get("StringEquals") if isinstance(condition, Mapping) else None
    values = (
        [value for key, value in tests.items() if str(key).lower() == _COMPARTMENT]
        if isinstance(tests, Mapping)
        else []
    )
    return {str(text) for value in values for text in _listed(value)}


def _aliases(statement: Mapping[str, Any]) -> str:
    condition = statement.get("Condition")
    tests = condition.get("ForAnyValue:StringEquals") if isinstance(condition, Mapping) else None
    return str(tests.get("kms:ResourceAliases")) if isinstance(tests, Mapping) else ""


def _who(statement: Mapping[str, Any]) -> list[str]:
    principal = statement.get("Principal")
    if principal is None:
        return [""]
    values = principal.values() if isinstance(principal, Mapping) else [principal]
    return [str(text) for value in values for text in _listed(value)]


def _of_bucket(pairs: Sequence[tuple[Mapping[str, Any], Path]]) -> bool:
    return any(
        ("Principal" in statement or "NotPrincipal" in statement)
        and any(
            action.lower().startswith("s3:")
            for name in ("Action", "NotAction")
            for action in _texts(statement, name)
        )
        for statement, _ in pairs
    )


def _bucket(pairs: Sequence[tuple[Mapping[str, Any], Path]]) -> Iterator[Finding]:
    denies = [
        statement
        for statement, _ in pairs
        if statement.get("Effect") == "Deny" and _anybody(statement.get("Principal"))
    ]
    if not any(
        "s3:*" in _texts(statement, "Action") and _condition(statement, "Bool", "aws:SecureTransport") == "false"
        for statement in denies
    ):
        yield lint_finding(
            "aws-no-tls",
            "error",
            ("Statement",),
            "requests over HTTP are not denied",
            'deny s3:* where {"Bool": {"aws:SecureTransport": "false"}}',
        )
    if not any(
        _names(statement, "s3:PutObject") and _condition(statement, "Null", "s3:if-none-match") == "true"
        for statement in denies
    ):
        yield lint_finding(
            "aws-overwrite",
            "warning",
            ("Statement",),
            "whoever may push can overwrite a payload",
            'deny s3:PutObject where {"Null": {"s3:if-none-match": "true"}}',
        )


def _key(pairs: Sequence[tuple[Mapping[str, Any], Path]]) -> Iterator[Finding]:
    for statement, _ in pairs:
        denied = statement.get("Effect") == "Deny" and _anybody(statement.get("Principal"))
        whole = denied and all(
            _names(statement, action) for action in ("kms:Decrypt", "kms:Encrypt", "kms:ReEncryptFrom")
        )
        if (
            whole
            and "StringNotEquals" in str(statement.get("Condition"))
            and _COMPARTMENT in str(statement).lower()
        ):
            return
    yield lint_finding(
        "aws-key-open",
        "warning",
        ("Statement",),
        "uses outside the key's compartments are not denied, so a wide IAM policy elsewhere may allow them",
        'deny use where {"StringNotEquals": {"kms:EncryptionContext:compartment": [...]}}',
    )


def _condition(statement: Mapping[str, Any], operator: str, key: str) -> str | None:
    condition = statement.get("Condition")
    keys = condition.get(operator) if isinstance(condition, Mapping) else None
    value = keys.get(key) if isinstance(keys, Mapping) else None
    listed = _listed(value)
    return str(listed[0]).lower() if len(listed) == 1 else None


def of_public_access(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Return the findings about a bucket's public access block."""
    for name, value in document.items():
        if value is not True:
            yield lint_finding("aws-public", "error", (name,), f"{name} is off", f"write {name}: true")

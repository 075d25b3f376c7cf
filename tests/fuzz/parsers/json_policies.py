"""Policies in JSON: AWS's, Vault's roles and keys, Google's bindings, Azure's role assignments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from secure_xcom.core.policy_errors import PolicyInvalid
from tests.fuzz.harness import Harness
from tests.fuzz.linting import lint_of

_COMPILED = Path(__file__).parents[2] / "unit/ops/service_policies/compiled"


def _seeds() -> Iterator[bytes]:
    yield b'{"path": {"transit/decrypt/*": {"capabilities": ["update"], "policy": "write"}}}'
    yield b'{"Statement": {"Effect": "Allow", "NotAction": "kms:*", "Resource": "*", "Principal": {"AWS": "*"}}}'
    for path in sorted(_COMPILED.rglob("*.json")):
        yield path.read_bytes()


HARNESS = Harness(
    (lint_of("policy.json"),),
    (PolicyInvalid,),
    _seeds,
    words=(
        "Statement", "Effect", "Allow", "Deny", "Action", "NotAction", "Resource", "NotResource", "Principal",
        "AWS", "NotPrincipal", "Condition", "StringEquals", "Bool", "Null", "path", "body", "create", "config",
        "members", "principalId", "condition", "expression", "includedPermissions", "reveal", "Rules",
        "1e999", "null", "{}", "[]",
    ),
)  # fmt: skip

"""The statements of all AWS policy documents: their names, actions and conditions.

A statement's Sid is its comment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from secure_xcom.keys.aws_kms_format import kms_context_value
from secure_xcom.ops.service_policies.rights import Act, Right

Statement = dict[str, Any]
SID = "SecureXcom"
"""The prefix of the Sid of every statement and the ID of every lifecycle rule of ours."""

CONTEXT = "kms:EncryptionContext:"
KMS_ACTIONS: dict[Act, tuple[str, ...]] = {
    "push": ("kms:Encrypt",),
    "pull": ("kms:Decrypt",),
    "rewrap": ("kms:ReEncryptFrom", "kms:ReEncryptTo"),
    "look": ("kms:DescribeKey", "kms:GetKeyRotationStatus"),
}
S3_ACTIONS: dict[Act, tuple[str, ...]] = {
    "push": ("s3:AbortMultipartUpload", "s3:PutObject"),
    "pull": ("s3:GetObject",),
    "rewrap": ("s3:DeleteObject",),
}
# For claims, which only maintenance deletes.
CLAIM_ACTIONS: dict[Act, tuple[str, ...]] = {
    "pull": ("s3:GetObject", "s3:PutObject"),
    "rewrap": ("s3:DeleteObject", "s3:GetObject"),
}


def document(statements: Iterable[Statement]) -> Statement:
    """Return a policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def sid_of(*parts: str | int) -> str:
    """Return a unique Sid of letters and digits. A short digest replaces the characters that it cannot have."""
    text = "".join(word[:1].upper() + word[1:] for part in parts[:3] for word in str(part).split("-"))
    return SID + text + hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:8]


def allow(sid: str, actions: Sequence[str], resources: list[str], condition: Statement | None = None) -> Statement:
    """Return a statement that allows the identity that it is attached to, or its ``Principal`` if one is added."""
    statement: Statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resources}
    return {**statement, "Condition": condition} if condition else statement


def deny(sid: str, actions: Sequence[str], resources: list[str], condition: Statement) -> Statement:
    """Return a statement that denies everyone, or everyone who matches the condition."""
    statement: Statement = {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": list(actions),
        "Resource": resources,
    }
    return {**statement, "Condition": condition} if condition else statement


SAME_KEY = "kms:ReEncryptOnSameKey"
"""The condition key that tells whether source and destination of a ReEncrypt are the same key."""


def conditions(right: Right) -> Iterator[Statement]:
    """Yield the conditions of a right on a key: one for all whole DAGs, one for each DAG limited to tasks.

    KMS authorizes the source and the destination of a ReEncrypt separately, and no condition covers both. So a
    principal that may rewrap in two compartments could rewrap from one to the other's key. Such a principal is
    limited to rewraps on the same key.
    """
    for condition in _contexts(right):
        yield {**condition, "Bool": {SAME_KEY: "true"}} if len(right.maintained) > 1 else condition


def _contexts(right: Right) -> Iterator[Statement]:
    if right.act == "look":
        # These requests have no encryption context.
        yield {}
        return
    base: dict[str, str | list[str]] = {f"{CONTEXT}compartment": kms_context_value(right.compartment.name)}
    if right.scope.parts is None:
        yield {"StringEquals": base}
        return
    dags = [kms_context_value(dag) for dag, tasks in right.scope.parts if tasks is None]
    if dags:
        yield {"StringEquals": {**base, f"{CONTEXT}dag_id": dags}}
    for dag, tasks in right.scope.parts:
        if tasks is not None:
            ids = {
                f"{CONTEXT}dag_id": kms_context_value(dag),
                f"{CONTEXT}task_id": list(map(kms_context_value, tasks)),
            }
            yield {"StringEquals": {**base, **ids}}

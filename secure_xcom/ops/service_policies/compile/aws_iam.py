"""Compile for AWS: the IAM policies of identities' roles and users.

Source: KMS Developer Guide, "Encryption context" and "Using aliases to control access".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from secure_xcom.keys.aws_kms_format import KmsKey
from secure_xcom.ops.service_policies.compile.aws_kms import usable_keys
from secure_xcom.ops.service_policies.compile.aws_statements import (
    CLAIM_ACTIONS,
    KMS_ACTIONS,
    S3_ACTIONS,
    Statement,
    allow,
    conditions,
    document,
    sid_of,
)
from secure_xcom.ops.service_policies.payload_prefixes import claim_prefixes, prefixes
from secure_xcom.ops.service_policies.rights import Right


def identity_policy(rights: Sequence[Right]) -> Statement | None:
    """Return the IAM policy of an identity's role or user; None if it has no rights in AWS."""
    statements: list[Statement] = []
    for right in rights:
        statements += _kms_of_identity(right)
        statements += _s3_of_identity(right)
    return document(statements) if statements else None


def _kms_of_identity(right: Right) -> Iterator[Statement]:
    principal = right.identity.aws.principal if right.identity.aws else ""
    for key in usable_keys(right):
        resource, alias = key_resource(key, principal)
        for number, condition in enumerate(conditions(right)):
            if alias:
                # An alias cannot be a resource of these actions; it is a condition on its key.
                condition = {**condition, "ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}}  # noqa: PLW2901
            sid = sid_of("Kms", right.act, right.compartment.name, number, key.request_id)
            yield allow(sid, KMS_ACTIONS[right.act], [resource], condition)


def key_resource(key: KmsKey, principal: str) -> tuple[str, str | None]:
    """Return the ARN of a key for policies, and its required alias if only KMS knows which key that is."""
    _, partition, _, _, account, *_ = (principal or "arn:aws:iam::*:").split(":")
    if key.request_id.startswith("arn:"):
        place, kind, name = key.request_id.rpartition(":")
        if name.startswith("key/"):
            return key.request_id, None
        return f"{place}{kind}key/*", name
    if key.alias:
        return f"arn:{partition}:kms:*:{account}:key/*", key.request_id
    return f"arn:{partition}:kms:*:{account}:key/{key.request_id}", None


def _s3_of_identity(right: Right) -> Iterator[Statement]:
    payloads = prefixes(right, "s3")
    if not payloads or right.act == "look":
        return
    partition = right.identity.aws.principal.split(":")[1] if right.identity.aws else "aws"
    name = right.compartment.name
    resources = [f"arn:{partition}:s3:::{place.bucket}/{place.prefix}*" for place in payloads]
    yield allow(sid_of("S3", right.act, name), S3_ACTIONS[right.act], resources)
    claims = claim_prefixes(right, "s3")
    if claims:
        resources = [f"arn:{partition}:s3:::{place.bucket}/{place.prefix}*" for place in claims]
        yield allow(sid_of("S3Claims", right.act, name), CLAIM_ACTIONS[right.act], resources)
    if right.act == "rewrap":
        for bucket in dict.fromkeys(place.bucket for place in payloads):
            patterns = [f"{place.prefix}*" for place in (*payloads, *claims) if place.bucket == bucket]
            condition = {"StringLike": {"s3:prefix": patterns}}
            sid = sid_of("S3", "list", name, 0, bucket)
            yield allow(sid, ("s3:ListBucket",), [f"arn:{partition}:s3:::{bucket}"], condition)

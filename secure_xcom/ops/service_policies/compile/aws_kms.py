"""Compile for AWS: KMS key policies, with conditions on the encryption context.

Source: KMS Developer Guide, "Encryption context" and "Key administrators".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.keys import KeyUri
from secure_xcom.keys.aws_kms_format import KmsKey, kms_context_value, same_key
from secure_xcom.ops.service_policies.compile.aws_statements import (
    CONTEXT,
    KMS_ACTIONS,
    SAME_KEY,
    SID,
    Statement,
    allow,
    conditions,
    deny,
    document,
    sid_of,
)
from secure_xcom.ops.service_policies.rights import Right

# The uses of a key, which its administrators must not have.
_USE = ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")
_ADMINISTER = (
    "kms:CancelKeyDeletion", "kms:CreateAlias", "kms:DeleteAlias", "kms:DescribeKey", "kms:DisableKey",
    "kms:EnableKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus",
    "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:RotateKeyOnDemand", "kms:ScheduleKeyDeletion",
    "kms:TagResource", "kms:UntagResource", "kms:UpdateAlias", "kms:UpdateKeyDescription",
)  # fmt: skip


def kms_keys(compartment: Compartment, *, pushing: bool = False) -> tuple[KmsKey, ...]:
    """Return the KMS keys of a compartment."""
    uris = map(KeyUri.parse, compartment.all_key_uris)
    used = [uri for uri in uris if uri.name.startswith("aws-kms://") and not (pushing and uri.wrap == "never")]
    return tuple({key.request_id: key for key in (KmsKey.parse(uri.service) for uri in used)}.values())


def usable_keys(right: Right) -> tuple[KmsKey, ...]:
    """Return the KMS keys that a right is compiled for.

    The right to rewrap with a shared key is not compiled for a principal that maintains more than one of its
    compartments: only the encryption context separates them, and no condition of KMS compares the context of a
    ReEncrypt's source with that of its destination.
    """
    keys = kms_keys(right.compartment, pushing=right.act == "push") if right.keys else ()
    return tuple(key for key in keys if not shared_with(right, key))


def shared_with(right: Right, key: KmsKey) -> tuple[str, ...]:
    """Return the other compartments of a key that the principal of a right to rewrap maintains as well."""
    others = (other for other in right.maintained if other.name != right.compartment.name)
    return tuple(other.name for other in others if any(_may_be_same(key, theirs) for theirs in kms_keys(other)))


def _may_be_same(left: KmsKey, right: KmsKey) -> bool:
    if left.region and right.region:
        return same_key(left.request_id, right.request_id)
    # Without an ARN, the connection determines account and region, and no connection is looked up here.
    return _name(left) == _name(right)


def _name(key: KmsKey) -> str:
    return key.request_id.rpartition(":")[2].removeprefix("key/")


def key_policies(policy: AccessPolicy, rights: Sequence[Right]) -> dict[str, Statement]:
    """Return key as requests name it -> key policy. Empty if no AWS identity tells the account."""
    owners: dict[str, list[str]] = {}
    keys: dict[str, KmsKey] = {}
    for compartment in policy.compartments:
        for key in kms_keys(compartment):
            owners.setdefault(key.request_id, []).append(compartment.name)
            keys[key.request_id] = key
    documents = {}
    for name, compartments in sorted(owners.items()):
        users = [
            right
            for right in rights
            if right.identity.aws and any(key.request_id == name for key in usable_keys(right))
        ]
        if users:
            documents[name] = document(_key_statements(keys[name], sorted(compartments), users))
    return documents


def _key_statements(key: KmsKey, compartments: list[str], users: list[Right]) -> Iterator[Statement]:
    principal = users[0].identity.aws.principal if users[0].identity.aws else ""
    _, partition, _, _, account, *_ = key.request_id.split(":") if key.region else principal.split(":")
    root = {"AWS": f"arn:{partition}:iam::{account}:root"}
    yield {**allow(f"{SID}AdministerWithoutUsing", _ADMINISTER, ["*"]), "Principal": root}
    for right in users:
        for number, condition in enumerate(conditions(right)):
            sid = sid_of(right.identity.name, right.act, right.compartment.name, number)
            who = {"AWS": right.identity.aws.principal if right.identity.aws else ""}
            yield {**allow(sid, KMS_ACTIONS[right.act], ["*"], condition), "Principal": who}
    # A negated operator also matches a context without a compartment, so nothing is wrapped or opened without one.
    contexts = [kms_context_value(name) for name in compartments]
    outside = {"StringNotEquals": {f"{CONTEXT}compartment": contexts}}
    yield deny(f"{SID}NeverOutsideTheCompartment", _USE, ["*"], outside)
    # Only a principal that maintains nothing else may rewrap to another key. All others stay on this key.
    movers = {
        right.identity.aws.principal
        for right in users
        if right.identity.aws and right.act == "rewrap" and len(right.maintained) == 1
    }
    elsewhere: Statement = {"Bool": {SAME_KEY: "false"}}
    if movers:
        elsewhere["ArnNotEquals"] = {"aws:PrincipalArn": sorted(movers)}
    yield deny(f"{SID}NeverOntoAnotherKey", ("kms:ReEncryptFrom", "kms:ReEncryptTo"), ["*"], elsewhere)

"""For AWS: the policies of KMS keys, with conditions on the encryption context.

Source: KMS Developer Guide, "Encryption context" and "Key administrators".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from secure_xcom.access import AccessPolicy, Compartment
from secure_xcom.keys import KeyUri
from secure_xcom.keys.aws_kms_text import KmsKey, kms_context_value
from secure_xcom.policies.aws_statements import (
    CONTEXT,
    KMS_ACTIONS,
    SID,
    Statement,
    allow,
    conditions,
    deny,
    document,
    sid_of,
)
from secure_xcom.policies.rights import Right

# What uses a key; who administers it may do none of them.
_USE = ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")
_ADMINISTER = (
    "kms:CancelKeyDeletion", "kms:CreateAlias", "kms:DeleteAlias", "kms:DescribeKey", "kms:DisableKey",
    "kms:EnableKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus",
    "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:RotateKeyOnDemand", "kms:ScheduleKeyDeletion",
    "kms:TagResource", "kms:UntagResource", "kms:UpdateAlias", "kms:UpdateKeyDescription",
)  # fmt: skip


def kms_keys(compartment: Compartment, *, pushing: bool = False) -> tuple[KmsKey, ...]:
    """The KMS keys of a compartment."""
    uris = map(KeyUri.parse, compartment.all_key_uris)
    kept = [uri for uri in uris if uri.name.startswith("aws-kms://") and not (pushing and uri.wrap == "never")]
    return tuple({key.request_id: key for key in (KmsKey.parse(uri.service) for uri in kept)}.values())


def key_policies(policy: AccessPolicy, rights: Sequence[Right]) -> dict[str, Statement]:
    """Key as requests name it -> its key policy. None where no identity of AWS says which account it is for."""
    owners: dict[str, list[str]] = {}
    keys: dict[str, KmsKey] = {}
    for compartment in policy.compartments:
        for key in kms_keys(compartment):
            owners.setdefault(key.request_id, []).append(compartment.name)
            keys[key.request_id] = key
    found = {}
    for name, compartments in sorted(owners.items()):
        users = [
            right
            for right in rights
            if right.identity.aws
            and any(key.request_id == name for key in kms_keys(right.compartment, pushing=right.act == "push"))
        ]
        if users:
            found[name] = document(_key_statements(keys[name], sorted(compartments), users))
    return found


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
    # A negated operator also holds where the context has no compartment: nothing without one is wrapped or opened.
    contexts = [kms_context_value(name) for name in compartments]
    outside = {"StringNotEquals": {f"{CONTEXT}compartment": contexts}}
    yield deny(f"{SID}NeverOutsideTheCompartment", _USE, ["*"], outside)

"""For AWS: identity policies, key policies with conditions on the encryption context, bucket policies, lifecycles.

Sources: KMS Developer Guide, "Encryption context" and "Using aliases to control access"; S3 User Guide, "Enforce
conditional writes on Amazon S3 buckets" and "Example bucket policies". A statement's Sid is its comment.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from secure_xcom.access import AccessPolicy, Compartment
from secure_xcom.keys import KeyUri
from secure_xcom.keys.aws_kms_text import KmsKey, kms_context_value
from secure_xcom.policies.places import below, buckets, claim_prefixes, prefixes
from secure_xcom.policies.rights import Act, Right

Statement = dict[str, Any]
SID = "SecureXcom"
"""How the Sid of every statement and the ID of every lifecycle rule begins: what begins otherwise is not ours."""

_CONTEXT = "kms:EncryptionContext:"
_KMS: dict[Act, tuple[str, ...]] = {
    "push": ("kms:Encrypt",),
    "pull": ("kms:Decrypt",),
    "rewrap": ("kms:ReEncryptFrom", "kms:ReEncryptTo"),
    "look": ("kms:DescribeKey", "kms:GetKeyRotationStatus"),
}
_S3: dict[Act, tuple[str, ...]] = {
    "push": ("s3:AbortMultipartUpload", "s3:PutObject"),
    "pull": ("s3:GetObject",),
    "rewrap": ("s3:DeleteObject",),
}
# Of claims, which nobody but maintenance takes away.
_CLAIMS: dict[Act, tuple[str, ...]] = {
    "pull": ("s3:GetObject", "s3:PutObject"),
    "rewrap": ("s3:DeleteObject", "s3:GetObject"),
}
# What uses a key; who administers it may do none of them (KMS Developer Guide, "Key administrators").
_USE = ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")
_ADMINISTER = (
    "kms:CancelKeyDeletion", "kms:CreateAlias", "kms:DeleteAlias", "kms:DescribeKey", "kms:DisableKey",
    "kms:EnableKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus",
    "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:RotateKeyOnDemand", "kms:ScheduleKeyDeletion",
    "kms:TagResource", "kms:UntagResource", "kms:UpdateAlias", "kms:UpdateKeyDescription",
)  # fmt: skip


def document(statements: Iterable[Statement]) -> Statement:
    """A policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def kms_keys(compartment: Compartment, *, pushing: bool = False) -> tuple[KmsKey, ...]:
    """The KMS keys of a compartment."""
    uris = map(KeyUri.parse, compartment.all_key_uris)
    kept = [uri for uri in uris if uri.name.startswith("aws-kms://") and not (pushing and uri.wrap == "never")]
    return tuple({key.request_id: key for key in (KmsKey.parse(uri.service) for uri in kept)}.values())


def identity_policy(rights: Sequence[Right]) -> Statement | None:
    """What an identity's role or user is given; None where it has nothing to do in AWS."""
    statements: list[Statement] = []
    for right in rights:
        statements += _kms_of_identity(right)
        statements += _s3_of_identity(right)
    return document(statements) if statements else None


def _kms_of_identity(right: Right) -> Iterator[Statement]:
    principal = right.identity.aws.principal if right.identity.aws else ""
    for key in kms_keys(right.compartment, pushing=right.act == "push"):
        resource, alias = key_resource(key, principal)
        for number, condition in enumerate(_conditions(right)):
            if alias:
                # An alias is no resource of these actions; it is a condition on the key that bears it.
                condition = {**condition, "ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}}  # noqa: PLW2901
            sid = _sid("Kms", right.act, right.compartment.name, number, key.request_id)
            yield _allow(sid, _KMS[right.act], [resource], condition)


def key_resource(key: KmsKey, principal: str) -> tuple[str, str | None]:
    """The ARN of a key for policies, and the alias that it must bear where only KMS knows which key that is."""
    _, partition, _, _, account, *_ = (principal or "arn:aws:iam::*:").split(":")
    if key.request_id.startswith("arn:"):
        place, kind, name = key.request_id.rpartition(":")
        if name.startswith("key/"):
            return key.request_id, None
        return f"{place}{kind}key/*", name
    if key.alias:
        return f"arn:{partition}:kms:*:{account}:key/*", key.request_id
    return f"arn:{partition}:kms:*:{account}:key/{key.request_id}", None


def _conditions(right: Right) -> Iterator[Statement]:
    """The conditions on the encryption context: one for all whole DAGs, one for each DAG limited to tasks."""
    if right.act == "look":
        # These requests carry no encryption context.
        yield {}
        return
    base: dict[str, str | list[str]] = {f"{_CONTEXT}compartment": kms_context_value(right.compartment.name)}
    if right.scope.parts is None:
        yield {"StringEquals": base}
        return
    dags = [kms_context_value(dag) for dag, tasks in right.scope.parts if tasks is None]
    if dags:
        yield {"StringEquals": {**base, f"{_CONTEXT}dag_id": dags}}
    for dag, tasks in right.scope.parts:
        if tasks is not None:
            ids = {
                f"{_CONTEXT}dag_id": kms_context_value(dag),
                f"{_CONTEXT}task_id": list(map(kms_context_value, tasks)),
            }
            yield {"StringEquals": {**base, **ids}}


def _s3_of_identity(right: Right) -> Iterator[Statement]:
    found = prefixes(right, "s3")
    if not found or right.act == "look":
        return
    partition = right.identity.aws.principal.split(":")[1] if right.identity.aws else "aws"
    name = right.compartment.name
    resources = [f"arn:{partition}:s3:::{one.bucket}/{one.prefix}*" for one in found]
    yield _allow(_sid("S3", right.act, name), _S3[right.act], resources)
    claims = claim_prefixes(right, "s3")
    if claims:
        resources = [f"arn:{partition}:s3:::{one.bucket}/{one.prefix}*" for one in claims]
        yield _allow(_sid("S3Claims", right.act, name), _CLAIMS[right.act], resources)
    if right.act == "rewrap":
        for bucket in dict.fromkeys(one.bucket for one in found):
            mine = [f"{one.prefix}*" for one in (*found, *claims) if one.bucket == bucket]
            condition = {"StringLike": {"s3:prefix": mine}}
            sid = _sid("S3", "list", name, 0, bucket)
            yield _allow(sid, ("s3:ListBucket",), [f"arn:{partition}:s3:::{bucket}"], condition)


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
    yield {**_allow(f"{SID}AdministerWithoutUsing", _ADMINISTER, ["*"]), "Principal": root}
    for right in users:
        for number, condition in enumerate(_conditions(right)):
            sid = _sid(right.identity.name, right.act, right.compartment.name, number)
            who = {"AWS": right.identity.aws.principal if right.identity.aws else ""}
            yield {**_allow(sid, _KMS[right.act], ["*"], condition), "Principal": who}
    # A negated operator also holds where the context has no compartment: nothing without one is wrapped or opened.
    contexts = [kms_context_value(name) for name in compartments]
    yield {
        "Sid": f"{SID}NeverOutsideTheCompartment",
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": list(_USE),
        "Resource": ["*"],
        "Condition": {"StringNotEquals": {f"{_CONTEXT}compartment": contexts}},
    }


def bucket_policies(policy: AccessPolicy, rights: Sequence[Right]) -> dict[str, Statement]:
    """Bucket -> its policy."""
    names = {place.bucket for own in policy.compartments for place in buckets(own.all_store_uris, "s3")}
    return {bucket: document(_bucket(policy, rights, bucket)) for bucket in sorted(names)}


def _bucket(policy: AccessPolicy, rights: Sequence[Right], bucket: str) -> Iterator[Statement]:
    partitions = {right.identity.aws.principal.split(":")[1] for right in rights if right.identity.aws}
    arn = f"arn:{min(partitions, default='aws')}:s3:::{bucket}"
    yield _deny(f"{SID}TlsOnly", ["s3:*"], [arn, f"{arn}/*"], {"Bool": {"aws:SecureTransport": "false"}})
    own = _prefixes_of(policy, bucket)
    # Parts of a large object are put without the header, and become an object only with it.
    create_only = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
    claims = _prefixes_of(policy, bucket, claims=True)
    resources = [f"{arn}/{prefix}*" for _, prefix in (*own, *claims)]
    yield _deny(f"{SID}CreateNeverOverwrite", ["s3:PutObject"], resources, create_only)
    for name, prefix in own:
        yield from _others(arn, bucket, name, prefix, rights)
    for name, prefix in claims:
        yield from _others_than_claimants(arn, bucket, name, prefix, rights)
    yield from _grants(arn, bucket, rights)


def _prefixes_of(policy: AccessPolicy, bucket: str, *, claims: bool = False) -> list[tuple[str, str]]:
    found = [
        (compartment.name, below(place, compartment, claims=claims))
        for compartment in policy.compartments
        if compartment.exclusive or not claims
        for place in buckets(compartment.all_store_uris, "s3")
        if place.bucket == bucket
    ]
    return list(dict.fromkeys(found))


def _others(arn: str, bucket: str, name: str, prefix: str, rights: Sequence[Right]) -> Iterator[Statement]:
    """Deny everyone else, so that a wide policy elsewhere in the account opens nothing here."""
    for act, actions in _S3.items():
        who = {
            right.identity.aws.principal
            for right in rights
            if right.identity.aws
            and right.act == act
            and right.compartment.name == name
            and any(one.bucket == bucket and one.prefix.startswith(prefix) for one in prefixes(right, "s3"))
        }
        condition = {"ArnNotEquals": {"aws:PrincipalArn": sorted(who)}} if who else {}
        word = {"push": "push", "pull": "pull", "rewrap": "delete"}[act]
        kept = [action for action in actions if action != "s3:AbortMultipartUpload"]
        # A bucket with versions has more ways to read and to destroy, and nobody is given those.
        kept += {"pull": ["s3:GetObjectVersion"], "delete": ["s3:DeleteObjectVersion"]}.get(word, [])
        yield _deny(_sid("NobodyElse", word, name, 0, prefix), kept, [f"{arn}/{prefix}*"], condition)


def _others_than_claimants(
    arn: str, bucket: str, name: str, prefix: str, rights: Sequence[Right]
) -> Iterator[Statement]:
    """Deny everyone else the making, the reading and above all the taking away of claims."""
    for act, acts, actions in (
        ("claim", ("pull",), ["s3:PutObject"]),
        ("see claims", ("pull", "rewrap"), ["s3:GetObject", "s3:GetObjectVersion"]),
        ("delete claims", ("rewrap",), ["s3:DeleteObject", "s3:DeleteObjectVersion"]),
    ):
        who = {
            right.identity.aws.principal
            for right in rights
            if right.identity.aws
            and right.act in acts
            and right.compartment.name == name
            and any(one.bucket == bucket and one.prefix.startswith(prefix) for one in claim_prefixes(right, "s3"))
        }
        condition = {"ArnNotEquals": {"aws:PrincipalArn": sorted(who)}} if who else {}
        word = "-".join(act.split())
        yield _deny(_sid("NobodyElse", word, name, 0, prefix), actions, [f"{arn}/{prefix}*"], condition)


def _grants(arn: str, bucket: str, rights: Sequence[Right]) -> Iterator[Statement]:
    for right in rights:
        mine = [one.prefix for one in prefixes(right, "s3") if one.bucket == bucket]
        if not mine or right.identity.aws is None or right.act == "look":
            continue
        resources = [f"{arn}/{prefix}*" for prefix in mine]
        who = {"AWS": right.identity.aws.principal}
        sid = _sid(right.identity.name, right.act, right.compartment.name)
        yield {**_allow(sid, _S3[right.act], resources), "Principal": who}
        claims = [one.prefix for one in claim_prefixes(right, "s3") if one.bucket == bucket]
        if claims:
            sid = _sid(right.identity.name, f"{right.act}-claims", right.compartment.name)
            resources = [f"{arn}/{prefix}*" for prefix in claims]
            yield {**_allow(sid, _CLAIMS[right.act], resources), "Principal": who}
        if right.act == "rewrap":
            condition = {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in (*mine, *claims)]}}
            sid = _sid(right.identity.name, "list", right.compartment.name)
            yield {**_allow(sid, ("s3:ListBucket",), [arn], condition), "Principal": who}


def lifecycles(policy: AccessPolicy) -> dict[str, Statement]:
    """Bucket -> its lifecycle: half-made uploads go after a week, payloads a day after the last of them expires.

    A lifecycle knows no legal hold, so a compartment with one has no expiration: ``secure-xcom expire`` deletes.
    """
    found: dict[str, list[Statement]] = {}
    for own in policy.compartments:
        for place in buckets(own.all_store_uris, "s3"):
            prefix = below(place, own)
            rule: Statement = {
                "ID": _sid(own.name, "lifecycle", "", 0, prefix),
                "Status": "Enabled",
                "Filter": {"Prefix": prefix},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
            }
            longest = own.longest_retention_seconds
            if longest is not None and not policy.holds_in(own):
                # A reference says to the second when it expires; S3 knows days, so the object goes a day later.
                rule["Expiration"] = {"Days": math.ceil(longest / 86_400) + 1}
                rule["NoncurrentVersionExpiration"] = {"NoncurrentDays": 1}
            rules = found.setdefault(place.bucket, [])
            if rule not in rules:
                rules.append(rule)
            if own.exclusive and "Expiration" in rule:
                # A claim is made after its payload, so it never goes before it.
                claims = below(place, own, claims=True)
                made = {**rule, "ID": _sid(own.name, "claims", "", 0, claims), "Filter": {"Prefix": claims}}
                if made not in rules:
                    rules.append(made)
    return {bucket: {"Rules": rules} for bucket, rules in sorted(found.items())}


NO_PUBLIC_ACCESS = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}


def _sid(*parts: str | int) -> str:
    """A Sid of letters and digits, unique: what the parts lose by that comes back as a short digest."""
    text = "".join(word[:1].upper() + word[1:] for part in parts[:3] for word in str(part).split("-"))
    return SID + text + hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:8]


def _allow(
    sid: str, actions: Sequence[str], resources: list[str], condition: Statement | None = None
) -> Statement:
    statement: Statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resources}
    return {**statement, "Condition": condition} if condition else statement


def _deny(sid: str, actions: Sequence[str], resources: list[str], condition: Statement) -> Statement:
    statement: Statement = {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": list(actions),
        "Resource": resources,
    }
    return {**statement, "Condition": condition} if condition else statement

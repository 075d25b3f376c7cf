"""Compile for AWS: bucket policies and lifecycles.

Source: S3 User Guide, "Enforce conditional writes on Amazon S3 buckets" and "Example bucket policies".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from secure_xcom.core.access_policy.glob_relations import holds_in
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.compartments import longest_retention_seconds
from secure_xcom.ops.service_policies.compile.aws_statements import (
    CLAIM_ACTIONS,
    S3_ACTIONS,
    SID,
    Statement,
    allow,
    deny,
    document,
    sid_of,
)
from secure_xcom.ops.service_policies.payload_prefixes import below, buckets, claim_prefixes, prefixes
from secure_xcom.ops.service_policies.rights import Right

NO_PUBLIC_ACCESS = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}


def bucket_policies(policy: AccessPolicy, rights: Sequence[Right]) -> dict[str, Statement]:
    """Return bucket -> its policy."""
    names = {
        place.bucket for compartment in policy.compartments for place in buckets(compartment.all_store_uris, "s3")
    }
    return {bucket: document(_bucket(policy, rights, bucket)) for bucket in sorted(names)}


def _bucket(policy: AccessPolicy, rights: Sequence[Right], bucket: str) -> Iterator[Statement]:
    partitions = {right.identity.aws.principal.split(":")[1] for right in rights if right.identity.aws}
    arn = f"arn:{min(partitions, default='aws')}:s3:::{bucket}"
    yield deny(f"{SID}TlsOnly", ["s3:*"], [arn, f"{arn}/*"], {"Bool": {"aws:SecureTransport": "false"}})
    prefixes_here = _prefixes_of(policy, bucket)
    # Parts of a large object are put without the header, but become an object only with it.
    create_only = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
    claims = _prefixes_of(policy, bucket, claims=True)
    resources = [f"{arn}/{prefix}*" for _, prefix in (*prefixes_here, *claims)]
    yield deny(f"{SID}CreateNeverOverwrite", ["s3:PutObject"], resources, create_only)
    for name, prefix in prefixes_here:
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
    """Deny everyone else, so that a wide policy elsewhere in the account grants nothing here."""
    for act, actions in S3_ACTIONS.items():
        who = {
            right.identity.aws.principal
            for right in rights
            if right.identity.aws
            and right.act == act
            and right.compartment.name == name
            and any(place.bucket == bucket and place.prefix.startswith(prefix) for place in prefixes(right, "s3"))
        }
        condition = {"ArnNotEquals": {"aws:PrincipalArn": sorted(who)}} if who else {}
        word = {"push": "push", "pull": "pull", "rewrap": "delete"}[act]
        allowed = [action for action in actions if action != "s3:AbortMultipartUpload"]
        # A versioned bucket has more actions that read and delete. Nobody gets these.
        allowed += {"pull": ["s3:GetObjectVersion"], "delete": ["s3:DeleteObjectVersion"]}.get(word, [])
        yield deny(sid_of("NobodyElse", word, name, 0, prefix), allowed, [f"{arn}/{prefix}*"], condition)


def _others_than_claimants(
    arn: str, bucket: str, name: str, prefix: str, rights: Sequence[Right]
) -> Iterator[Statement]:
    """Deny everyone else to create, read and above all delete claims."""
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
            and any(
                place.bucket == bucket and place.prefix.startswith(prefix) for place in claim_prefixes(right, "s3")
            )
        }
        condition = {"ArnNotEquals": {"aws:PrincipalArn": sorted(who)}} if who else {}
        word = "-".join(act.split())
        yield deny(sid_of("NobodyElse", word, name, 0, prefix), actions, [f"{arn}/{prefix}*"], condition)


def _grants(arn: str, bucket: str, rights: Sequence[Right]) -> Iterator[Statement]:
    for right in rights:
        payloads = [place.prefix for place in prefixes(right, "s3") if place.bucket == bucket]
        if not payloads or right.identity.aws is None or right.act == "look":
            continue
        resources = [f"{arn}/{prefix}*" for prefix in payloads]
        who = {"AWS": right.identity.aws.principal}
        sid = sid_of(right.identity.name, right.act, right.compartment.name)
        yield {**allow(sid, S3_ACTIONS[right.act], resources), "Principal": who}
        claims = [place.prefix for place in claim_prefixes(right, "s3") if place.bucket == bucket]
        if claims:
            sid = sid_of(right.identity.name, f"{right.act}-claims", right.compartment.name)
            resources = [f"{arn}/{prefix}*" for prefix in claims]
            yield {**allow(sid, CLAIM_ACTIONS[right.act], resources), "Principal": who}
        if right.act == "rewrap":
            condition = {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in (*payloads, *claims)]}}
            sid = sid_of(right.identity.name, "list", right.compartment.name)
            yield {**allow(sid, ("s3:ListBucket",), [arn], condition), "Principal": who}


def lifecycles(policy: AccessPolicy) -> dict[str, Statement]:
    """Return bucket -> lifecycle: it deletes incomplete uploads after a week, payloads a day after they expire.

    A lifecycle has no legal holds, so a compartment with one has no expiration: ``secure-xcom expire`` deletes.
    """
    by_bucket: dict[str, list[Statement]] = {}
    for compartment in policy.compartments:
        for place in buckets(compartment.all_store_uris, "s3"):
            prefix = below(place, compartment)
            rule: Statement = {
                "ID": sid_of(compartment.name, "lifecycle", "", 0, prefix),
                "Status": "Enabled",
                "Filter": {"Prefix": prefix},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
            }
            longest = longest_retention_seconds(compartment)
            if longest is not None and not holds_in(policy, compartment):
                # A reference expires to the second; S3 counts days, so the object is deleted a day later.
                rule["Expiration"] = {"Days": math.ceil(longest / 86_400) + 1}
                rule["NoncurrentVersionExpiration"] = {"NoncurrentDays": 1}
            rules = by_bucket.setdefault(place.bucket, [])
            if rule not in rules:
                rules.append(rule)
            if compartment.exclusive and "Expiration" in rule:
                # A claim is created after its payload, so it is never deleted before it.
                claims = below(place, compartment, claims=True)
                claim_rule = {
                    **rule,
                    "ID": sid_of(compartment.name, "claims", "", 0, claims),
                    "Filter": {"Prefix": claims},
                }
                if claim_rule not in rules:
                    rules.append(claim_rule)
    return {bucket: {"Rules": rules} for bucket, rules in sorted(by_bucket.items())}

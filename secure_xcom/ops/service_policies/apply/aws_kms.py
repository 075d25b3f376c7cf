"""Apply key policies to KMS: create missing keys of aliases, and keep foreign statements.

A key policy can lock out its own account, so that is checked here before AWS checks it as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.operator_errors import AwsRefused
from secure_xcom.keys.aws_kms_format import KmsKey
from secure_xcom.ops.service_policies.apply.aws_documents import (
    Document,
    difference,
    is_ours,
    merged,
    refuse_lock_out,
    same,
)
from secure_xcom.ops.service_policies.apply.aws_iam import TAG
from secure_xcom.ops.service_policies.apply.changes import Change, state_of
from secure_xcom.ops.service_policies.aws_account import AwsAccount
from secure_xcom.ops.service_policies.compile.aws_kms import key_policies, kms_keys
from secure_xcom.ops.service_policies.rights import Known, rights_of


def plan(aws: AwsAccount, policy: AccessPolicy, dags: Sequence[str] = ()) -> Iterator[Change]:
    """Yield the changes to make. Reads only.

    :raises AwsTrouble: a key does not exist or cannot be used, its policy would lock out its account, or KMS does
        not respond.
    """
    known = Known(tuple(sorted(set(dags))))
    rights = [right for identity in policy.identities for right in rights_of(policy, identity, known)]
    documents = key_policies(policy, rights)
    keys = {key.request_id: key for compartment in policy.compartments for key in kms_keys(compartment)}
    for name, document in documents.items():
        yield from _key(aws, keys[name], document)


def _key(aws: AwsAccount, key: KmsKey, desired: Document) -> Iterator[Change]:
    region: dict[str, Any] = {"region": key.region}
    described = aws.ask("kms", "describe_key", KeyId=key.request_id, absent=("NotFoundException",), **region)
    root = next(statement for statement in desired["Statement"] if "root" in str(statement.get("Principal")))
    account = root["Principal"]["AWS"].split(":")[4]
    where = f"key {key.request_id}"
    if described is None:
        if not key.alias:
            raise AwsRefused(
                "the key does not exist", where=where, remedy="correct the key URI: KMS assigns key ids"
            )
        refuse_lock_out(desired, account, where)
        yield Change(f"{where}: the key and its policy", "make", lambda: _make(aws, key, desired))
        return
    about = described["KeyMetadata"]
    arn = about["Arn"]
    if arn.split(":")[4] != account:
        raise AwsRefused(
            "the key belongs to another account than the identities",
            where=where,
            remedy="compile one access policy for each account",
        )
    if about.get("KeyManager", "CUSTOMER") != "CUSTOMER" or about.get("KeyState") == "PendingDeletion":
        raise AwsRefused("the key is managed by AWS, or pending deletion", where=where, remedy="name another key")

    def read() -> Document:
        answer = aws.ask("kms", "get_key_policy", KeyId=arn, PolicyName="default", **region) or {}
        document: Document = json.loads(answer["Policy"])
        return document

    def write() -> None:
        whole = merged(read(), desired)
        refuse_lock_out(whole, account, where)
        aws.ask("kms", "put_key_policy", KeyId=arn, PolicyName="default", Policy=json.dumps(whole), **region)

    current = read()
    whole = merged(current, desired)
    refuse_lock_out(whole, account, where)
    equal = same(current, whole)
    foreign = [statement for statement in whole["Statement"] if not is_ours(statement)]
    notes = tuple(
        f"{where}: its statement {statement.get('Sid', 'without a Sid')!r} does not belong to this policy and "
        "stays; check that it lets nobody use the key"
        for statement in foreign
        if statement["Effect"] == "Allow"
    )
    diff = () if equal else difference(current, whole)
    yield Change(f"{where}: policy", state_of(current, same=equal), write, diff, notes)
    if about.get("Origin", "AWS_KMS") == "AWS_KMS":
        status = aws.ask("kms", "get_key_rotation_status", KeyId=arn, **region) or {}
        on = bool(status.get("KeyRotationEnabled"))
        yield Change(
            f"{where}: rotated every year",
            "there" if on else "make",
            lambda: aws.ask("kms", "enable_key_rotation", KeyId=arn, **region),
        )


def _make(aws: AwsAccount, key: KmsKey, desired: Document) -> None:
    """Create a key, its alias and its rotation. Reuse a key that an earlier run left without an alias."""
    region: dict[str, Any] = {"region": key.region}
    alias = key.request_id.rpartition(":")[2]
    arn = _begun(aws, alias, region)
    if arn is None:
        answer = aws.ask(
            "kms",
            "create_key",
            Policy=json.dumps(desired),
            Description="Wrapping key of secure_xcom",
            Tags=[{"TagKey": TAG, "TagValue": alias}],
            **region,
        )
        arn = (answer or {})["KeyMetadata"]["Arn"]
    aws.ask("kms", "create_alias", AliasName=alias, TargetKeyId=arn, **region)
    aws.ask("kms", "enable_key_rotation", KeyId=arn, **region)


def _begun(aws: AwsAccount, alias: str, region: dict[str, Any]) -> str | None:
    marker: dict[str, Any] = {}
    while True:
        page = aws.ask("kms", "list_keys", **marker, **region) or {}
        for entry in page.get("Keys", ()):
            tags = aws.ask(
                "kms", "list_resource_tags", KeyId=entry["KeyId"], absent=("AccessDeniedException",), **region
            )
            if any(tag == {"TagKey": TAG, "TagValue": alias} for tag in (tags or {}).get("Tags", ())):
                return str(entry["KeyArn"])
        if not page.get("Truncated"):
            return None
        marker = {"Marker": page["NextMarker"]}

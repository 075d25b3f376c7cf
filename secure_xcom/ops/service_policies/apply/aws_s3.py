"""Apply bucket policies, lifecycles and public access blocks to buckets, and keep others' statements and rules.

Buckets are never created here. Our statements and rules are recognized by the prefix of their names. Both are
written as a whole, so they are read again right before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from secure_xcom.core.operator_errors import AwsRefused, AwsUnsupported
from secure_xcom.ops.service_policies.apply.aws_documents import Document, difference, is_ours, merged, same
from secure_xcom.ops.service_policies.apply.changes import Change, state_of
from secure_xcom.ops.service_policies.aws_account import AwsAccount
from secure_xcom.ops.service_policies.compile.all_services import Compiled

# S3 User Guide, "Bucket policies": 20 KB.
_POLICY_MAX_BYTES = 20_480


def plan(aws: AwsAccount, compiled: Compiled) -> Iterator[Change]:
    """Yield the changes to make. Reads only.

    :raises AwsTrouble: a bucket does not exist, its policy would be too long, or the server does not respond.
    """
    for path in compiled.files:
        if path.startswith("aws/buckets/") and path.endswith(".policy.json"):
            bucket = path.removeprefix("aws/buckets/").removesuffix(".policy.json")
            if aws.ask("s3", "head_bucket", Bucket=bucket, absent=("404", "NoSuchBucket")) is None:
                raise AwsRefused(
                    "the bucket does not exist", where=f"bucket {bucket}", remedy="create it; then run this again"
                )
            yield _public_access(aws, bucket, compiled)
            yield _policy(aws, bucket, json.loads(compiled.files[path]))
            yield _lifecycle(aws, bucket, compiled)


def _public_access(aws: AwsAccount, bucket: str, compiled: Compiled) -> Change:
    desired: Document = json.loads(compiled.files[f"aws/buckets/{bucket}.public-access.json"])
    text = f"bucket {bucket}: no public access"
    absent = ("NoSuchPublicAccessBlockConfiguration",)
    try:
        answer = aws.ask("s3", "get_public_access_block", Bucket=bucket, absent=absent)
    except AwsUnsupported:
        note = f"{bucket}: this server has no public access block, so only its policies prevent public access"
        return Change(text, "there", lambda: None, notes=(note,))
    current = None if answer is None else answer["PublicAccessBlockConfiguration"]
    return Change(
        text,
        state_of(current, same=current == desired),
        lambda: aws.ask("s3", "put_public_access_block", Bucket=bucket, PublicAccessBlockConfiguration=desired),
        () if current is None or current == desired else difference(current, desired),
    )


def _policy(aws: AwsAccount, bucket: str, desired: Document) -> Change:
    def read() -> Document | None:
        answer = aws.ask("s3", "get_bucket_policy", Bucket=bucket, absent=("NoSuchBucketPolicy",))
        document: Document | None = None if answer is None else json.loads(answer["Policy"])
        return document

    def text(current: Document | None) -> str:
        small = json.dumps(merged(current, desired), separators=(",", ":"))
        if len(small.encode()) > _POLICY_MAX_BYTES:
            raise AwsRefused(
                f"the bucket's policy would have {len(small)} characters, and S3 accepts {_POLICY_MAX_BYTES}",
                where=f"bucket {bucket}",
                remedy="give some compartments their own bucket",
            )
        return small

    def write() -> None:
        policy = text(read())
        try:
            aws.ask("s3", "put_bucket_policy", Bucket=bucket, Policy=policy)
        except AwsRefused as refused:
            if "Policy" not in refused.what:
                raise
            # MalformedPolicy of AWS, InvalidPolicyDocument of SeaweedFS: neither says which statement it is.
            raise AwsRefused(
                f"{refused.what}: the server does not support a statement of the bucket's policy",
                where=f"bucket {bucket}",
                remedy=f"the credentials are correct. Check the server's documentation for {_unusual(desired)}",
            ) from None

    current = read()
    text(current)
    whole = merged(current, desired)
    equal = same(current, whole)
    return Change(
        f"bucket {bucket}: policy",
        state_of(current, same=equal),
        write,
        () if current is None or equal else difference(current, whole),
    )


def _unusual(policy: Document) -> str:
    """Return the statements with conditions, which servers other than AWS often lack, and their keys."""
    named = []
    for statement in policy["Statement"]:
        keys = sorted({key for tests in statement.get("Condition", {}).values() for key in tests})
        if keys and keys != ["aws:SecureTransport"]:
            named.append(f"{statement.get('Sid', 'a statement')} ({', '.join(keys)})")
    return "; ".join(named[:6]) or "its principals, actions and resources"


def _lifecycle(aws: AwsAccount, bucket: str, compiled: Compiled) -> Change:
    desired: list[Document] = json.loads(compiled.files[f"aws/buckets/{bucket}.lifecycle.json"])["Rules"]

    def read() -> tuple[list[Document] | None, dict[str, Any]]:
        absent = ("NoSuchLifecycleConfiguration",)
        answer = aws.ask("s3", "get_bucket_lifecycle_configuration", Bucket=bucket, absent=absent)
        if answer is None:
            return None, {}
        # Other fields are written back unchanged, or S3 would reset them to their defaults.
        name = "TransitionDefaultMinimumObjectSize"
        return answer["Rules"], {name: answer[name]} if name in answer else {}

    def whole(current: list[Document] | None) -> list[Document]:
        return [*(rule for rule in current or () if not is_ours(rule, "ID")), *desired]

    def write() -> None:
        current, more = read()
        rules = {"Rules": whole(current)}
        aws.ask("s3", "put_bucket_lifecycle_configuration", Bucket=bucket, LifecycleConfiguration=rules, **more)

    current, _ = read()
    equal = current is not None and _by_id(current) == _by_id(whole(current))
    diff = () if current is None or equal else difference(_by_id(current), _by_id(whole(current)))
    return Change(f"bucket {bucket}: lifecycle", state_of(current, same=equal), write, diff)


def _by_id(rules: list[Document]) -> dict[str, Document]:
    return {str(rule.get("ID")): rule for rule in rules}

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


def plan(aws: AwsAccount, made: Compiled) -> Iterator[Change]:
    """Yield the changes to make. Reads only.

    :raises AwsTrouble: a bucket does not exist, its policy would be too long, or the server does not respond.
    """
    for path in made.files:
        if path.startswith("aws/buckets/") and path.endswith(".policy.json"):
            bucket = path.removeprefix("aws/buckets/").removesuffix(".policy.json")
            if aws.ask("s3", "head_bucket", Bucket=bucket, absent=("404", "NoSuchBucket")) is None:
                raise AwsRefused(
                    "the bucket does not exist", where=f"bucket {bucket}", remedy="create it; then run this again"
                )
            yield _public_access(aws, bucket, made)
            yield _policy(aws, bucket, json.loads(made.files[path]))
            yield _lifecycle(aws, bucket, made)


def _public_access(aws: AwsAccount, bucket: str, made: Compiled) -> Change:
    wanted: Document = json.loads(made.files[f"aws/buckets/{bucket}.public-access.json"])
    text = f"bucket {bucket}: no public access"
    absent = ("NoSuchPublicAccessBlockConfiguration",)
    try:
        found = aws.ask("s3", "get_public_access_block", Bucket=bucket, absent=absent)
    except AwsUnsupported:
        note = f"{bucket}: this server has no public access block, so only its policies keep strangers out"
        return Change(text, "there", lambda: None, notes=(note,))
    there = None if found is None else found["PublicAccessBlockConfiguration"]
    return Change(
        text,
        state_of(there, same=there == wanted),
        lambda: aws.ask("s3", "put_public_access_block", Bucket=bucket, PublicAccessBlockConfiguration=wanted),
        () if there is None or there == wanted else difference(there, wanted),
    )


def _policy(aws: AwsAccount, bucket: str, wanted: Document) -> Change:
    def read() -> Document | None:
        found = aws.ask("s3", "get_bucket_policy", Bucket=bucket, absent=("NoSuchBucketPolicy",))
        document: Document | None = None if found is None else json.loads(found["Policy"])
        return document

    def text(there: Document | None) -> str:
        small = json.dumps(merged(there, wanted), separators=(",", ":"))
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
                remedy=f"the credentials are right. Look for what the server knows of {_unusual(wanted)}",
            ) from None

    there = read()
    text(there)
    whole = merged(there, wanted)
    equal = same(there, whole)
    return Change(
        f"bucket {bucket}: policy",
        state_of(there, same=equal),
        write,
        () if there is None or equal else difference(there, whole),
    )


def _unusual(policy: Document) -> str:
    """Return the statements with conditions, which servers other than AWS often lack, and their keys."""
    named = []
    for statement in policy["Statement"]:
        keys = sorted({key for tests in statement.get("Condition", {}).values() for key in tests})
        if keys and keys != ["aws:SecureTransport"]:
            named.append(f"{statement.get('Sid', 'a statement')} ({', '.join(keys)})")
    return "; ".join(named[:6]) or "its principals, actions and resources"


def _lifecycle(aws: AwsAccount, bucket: str, made: Compiled) -> Change:
    wanted: list[Document] = json.loads(made.files[f"aws/buckets/{bucket}.lifecycle.json"])["Rules"]

    def read() -> tuple[list[Document] | None, dict[str, Any]]:
        absent = ("NoSuchLifecycleConfiguration",)
        found = aws.ask("s3", "get_bucket_lifecycle_configuration", Bucket=bucket, absent=absent)
        if found is None:
            return None, {}
        # Other fields are written back unchanged, or S3 would reset them to their defaults.
        name = "TransitionDefaultMinimumObjectSize"
        return found["Rules"], {name: found[name]} if name in found else {}

    def whole(there: list[Document] | None) -> list[Document]:
        return [*(one for one in there or () if not is_ours(one, "ID")), *wanted]

    def write() -> None:
        there, more = read()
        rules = {"Rules": whole(there)}
        aws.ask("s3", "put_bucket_lifecycle_configuration", Bucket=bucket, LifecycleConfiguration=rules, **more)

    there, _ = read()
    equal = there is not None and _by_id(there) == _by_id(whole(there))
    diff = () if there is None or equal else difference(_by_id(there), _by_id(whole(there)))
    return Change(f"bucket {bucket}: lifecycle", state_of(there, same=equal), write, diff)


def _by_id(rules: list[Document]) -> dict[str, Document]:
    return {str(rule.get("ID")): rule for rule in rules}

"""The evaluator of the tests, held against examples that AWS's documentation gives with their outcome."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.iam_evaluator import Request, evaluate

ROLE = "arn:aws:iam::111122223333:role/RoleForExampleApp"
KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def doc(**statement: Any) -> dict[str, Any]:
    """A document of one statement."""
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", **statement}],
    }


# KMS Developer Guide, "kms:EncryptionContext:context-key".
APP = doc(
    Principal={"AWS": ROLE},
    Action=["kms:Encrypt", "kms:Decrypt"],
    Condition={"StringEquals": {"kms:EncryptionContext:AppName": "ExampleApp"}},
)
# The same page: two pairs must both be there.
TWO = doc(
    Action="kms:Decrypt",
    Condition={
        "StringEquals": {
            "kms:EncryptionContext:AppName": "ExampleApp",
            "kms:EncryptionContext:FilePath": "/var/opt",
        }
    },
)
# S3 User Guide, "Restrict access to only HTTPS requests".
TLS = doc(Effect="Deny", Principal="*", Action="s3:*", Condition={"Bool": {"aws:SecureTransport": "false"}})
# S3 User Guide, "Enforce conditional writes": parts of an upload are let through, objects need the header.
WRITE = doc(
    Effect="Deny",
    Principal="*",
    Action="s3:PutObject",
    Condition={"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}},
)
# KMS Developer Guide, "kms:ResourceAliases".
ALIAS = doc(
    Action="kms:DescribeKey", Condition={"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/finance-key"}}
)
# S3 User Guide, "Allowing a user to list only the objects in a folder".
LIST = doc(Action="s3:ListBucket", Condition={"StringLike": {"s3:prefix": ["Development/*"]}})
# IAM User Guide, "String condition operators": a negated operator holds where the key is missing.
NOT = doc(Effect="Deny", Condition={"StringNotEquals": {"kms:EncryptionContext:AppName": "ExampleApp"}})
# IAM User Guide, "Revoke IAM role temporary security credentials". A user's own keys have no such time.
OLDER = doc(Effect="Deny", Condition={"DateLessThan": {"aws:TokenIssueTime": "2026-12-01T10:00:00Z"}})

CASES: list[tuple[dict[str, Any], str, dict[str, str | list[str]], str]] = [
    (OLDER, "kms:Decrypt", {"aws:TokenIssueTime": "2026-12-01T09:59:59Z"}, "deny"),
    (OLDER, "kms:Decrypt", {"aws:TokenIssueTime": "2026-12-01T10:00:00Z"}, "none"),
    (OLDER, "kms:Decrypt", {}, "none"),
    (APP, "kms:Decrypt", {"kms:EncryptionContext:AppName": "ExampleApp"}, "allow"),
    (APP, "kms:Decrypt", {"kms:EncryptionContext:AppName": "exampleapp"}, "none"),
    (APP, "kms:Decrypt", {}, "none"),
    (APP, "kms:ReEncryptFrom", {"kms:EncryptionContext:AppName": "ExampleApp"}, "none"),
    (TWO, "kms:Decrypt", {"kms:EncryptionContext:AppName": "ExampleApp"}, "none"),
    (
        TWO,
        "kms:Decrypt",
        {"kms:EncryptionContext:AppName": "ExampleApp", "kms:EncryptionContext:FilePath": "/var/opt"},
        "allow",
    ),
    (TLS, "s3:GetObject", {"aws:SecureTransport": "false"}, "deny"),
    (TLS, "s3:GetObject", {"aws:SecureTransport": "true"}, "none"),
    (WRITE, "s3:PutObject", {"s3:ObjectCreationOperation": "true"}, "deny"),
    (WRITE, "s3:PutObject", {"s3:ObjectCreationOperation": "true", "s3:if-none-match": "*"}, "none"),
    (WRITE, "s3:PutObject", {"s3:ObjectCreationOperation": "false"}, "none"),
    (ALIAS, "kms:DescribeKey", {"kms:ResourceAliases": ["alias/other", "alias/finance-key"]}, "allow"),
    (ALIAS, "kms:DescribeKey", {"kms:ResourceAliases": ["alias/other"]}, "none"),
    (LIST, "s3:ListBucket", {"s3:prefix": "Development/abc/"}, "allow"),
    (LIST, "s3:ListBucket", {"s3:prefix": ""}, "none"),
    (NOT, "kms:Decrypt", {}, "deny"),
    (NOT, "kms:Decrypt", {"kms:EncryptionContext:AppName": "ExampleApp"}, "none"),
]


@pytest.mark.parametrize(("document", "action", "context", "outcome"), CASES)
def test_it_says_what_aws_documents(
    document: dict[str, Any], action: str, context: dict[str, str | list[str]], outcome: str
) -> None:
    """Each example comes out as its page says."""
    assert evaluate(document, Request(ROLE, action, KEY, context)) == outcome


def test_another_principal_is_not_allowed() -> None:
    """A statement for one role says nothing about another."""
    context = {"kms:EncryptionContext:AppName": "ExampleApp"}
    assert evaluate(APP, Request(ROLE + "2", "kms:Decrypt", KEY, context)) == "none"


def test_an_unknown_operator_is_an_error() -> None:
    """What was not held against documentation is not evaluated."""
    with pytest.raises(AssertionError, match="no such operator"):
        evaluate(
            doc(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
            Request(ROLE, "s3:x", "y", {"aws:SourceIp": "1"}),
        )

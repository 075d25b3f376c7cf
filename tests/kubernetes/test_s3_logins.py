"""Who gets in at S3 with the token of a service account, and who does not."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.kubernetes.s3_node import AUDIENCE
from tests.support.kubernetes.site import NAMESPACE, WITH_S3, Services
from tests.support.servers.s3_server import ACCOUNT, Identity


def web_identity(services: Services, role: str, token: str) -> Identity:
    """Take a role at S3's STS with a token of the cluster, and with nothing else."""
    answer = services.s3.client(Identity("none", "none"), "sts").assume_role_with_web_identity(
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}", RoleSessionName="test", WebIdentityToken=token
    )["Credentials"]
    return Identity(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])


def _code(call: Any) -> str:
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "done"


@pytest.mark.parametrize("account", WITH_S3)
def test_a_role_of_s3_is_taken_by_its_account_alone(services: Services, account: str) -> None:
    """The STS gives keys for a token of the role's own account, and refuses every other account's."""
    own = services.cluster.account_token(NAMESPACE, account, AUDIENCE)
    assert web_identity(services, account, own).token
    for other in WITH_S3:
        if other != account:
            theirs = services.cluster.account_token(NAMESPACE, other, AUDIENCE)
            assert _code(lambda token=theirs: web_identity(services, account, token)) == "AccessDenied"


def test_a_token_for_vault_is_none_for_s3(services: Services) -> None:
    """The STS refuses what was made for another audience."""
    token = services.cluster.account_token(NAMESPACE, "xcom-finance", "vault")
    assert _code(lambda: web_identity(services, "xcom-finance", token)) == "InvalidParameterValue"


def test_each_role_reaches_its_own_part_of_the_bucket(services: Services) -> None:
    """With marketing's keys the bucket gives, takes and lists nothing below finance's prefix."""
    token = services.cluster.account_token(NAMESPACE, "xcom-marketing", AUDIENCE)
    client = services.s3.client(web_identity(services, "xcom-marketing", token))
    theirs = "sealed/finance/any"
    services.s3.client().put_object(Bucket="xcom", Key=theirs, Body=b"x")
    tried = {
        "get": lambda: client.get_object(Bucket="xcom", Key=theirs),
        "put": lambda: client.put_object(Bucket="xcom", Key=theirs, Body=b"y"),
        "list": lambda: client.list_objects_v2(Bucket="xcom", Prefix="sealed/finance/"),
        "delete": lambda: client.delete_object(Bucket="xcom", Key=theirs),
    }
    assert {name: _code(call) for name, call in tried.items()} == dict.fromkeys(tried, "AccessDenied")
    services.s3.client().delete_object(Bucket="xcom", Key=theirs)

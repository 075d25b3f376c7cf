"""Who gets in at Vault and at S3 with the token of a service account, and who does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from tests.support.kubernetes.s3_node import AUDIENCE
from tests.support.kubernetes.site import NAMESPACE, POLICY, WITH_S3, Services
from tests.support.servers.s3_server import ACCOUNT, Identity


def login(services: Services, role: str, token: str) -> requests.Response:
    """Log in at Vault as a pod does."""
    return services.vault.server.api("POST", "auth/kubernetes/login", {"role": role, "jwt": token}, token="")


def vault_token(services: Services, account: str) -> str:
    """Return what Vault gives the pods of an account."""
    answer = login(services, account, services.cluster.account_token(NAMESPACE, account, "vault"))
    assert answer.ok, answer.text
    return str(answer.json()["auth"]["client_token"])


def web_identity(services: Services, role: str, token: str) -> Identity:
    """Take a role at S3's STS with a token of the cluster, and with nothing else."""
    answer = services.s3.client(Identity("none", "none"), "sts").assume_role_with_web_identity(
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}", RoleSessionName="test", WebIdentityToken=token
    )["Credentials"]
    return Identity(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])


def test_the_cluster_comes_up(services: Services) -> None:
    """The node takes pods; how long each part took is printed."""
    print(services.cluster.times)
    version = services.cluster.api.call_api(
        "/version", "GET", auth_settings=["BearerToken"], response_type="object"
    )
    assert version[0]["gitVersion"] == "v1.34.3"


def test_policy_apply_makes_the_roles(services: Services) -> None:
    """Mount, keys, policies and Kubernetes roles were missing at Vault, and `policy apply` made each of them."""
    assert set(services.applied.values()) == {"make"}
    roles = [step for step in services.applied if step.startswith("role ")]
    assert len(roles) == len(WITH_S3)


def test_applying_again_changes_nothing(services: Services) -> None:
    """A second run finds everything as it would make it."""
    done = services.command("policy", "apply", str(POLICY), "--to", "vault", "--json", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("account", WITH_S3)
def test_an_account_logs_in_as_its_own_role(services: Services, account: str) -> None:
    """Vault asks the cluster about the token, and gives the role's policies."""
    answer = login(services, account, services.cluster.account_token(NAMESPACE, account, "vault"))
    assert answer.status_code == 200, answer.text
    auth = answer.json()["auth"]
    assert f"secure-xcom-{account}" in auth["policies"]
    assert auth["metadata"]["service_account_name"] == account


def _another_namespace(services: Services) -> str:
    services.cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "xcom-finance", "namespace": "elsewhere"},
        },
    )
    return services.cluster.account_token("elsewhere", "xcom-finance", "vault")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("another account", "service account name not authorized"),
        ("another namespace", "namespace not authorized"),
        ("another audience", "invalid audience"),
        ("the cluster's own audience", "invalid audience"),
        ("a forged token", "error verifying token"),
    ],
)
def test_vault_refuses_any_other_token(services: Services, case: str, said: str) -> None:
    """Finance's role takes a token of finance's account in Airflow's namespace, made for Vault, and no other."""
    cluster = services.cluster
    if case == "another account":
        token = cluster.account_token(NAMESPACE, "xcom-marketing", "vault")
    elif case == "another namespace":
        token = _another_namespace(services)
    elif case == "another audience":
        token = cluster.account_token(NAMESPACE, "xcom-finance", AUDIENCE)
    elif case == "the cluster's own audience":
        token = cluster.account_token(NAMESPACE, "xcom-finance")
    else:
        head, body, _ = cluster.account_token(NAMESPACE, "xcom-marketing", "vault").split(".")
        _, _, signature = cluster.account_token(NAMESPACE, "xcom-finance", "vault").split(".")
        token = ".".join([head, body, signature])
    answer = login(services, "xcom-finance", token)
    assert (answer.status_code, answer.ok) == (403, False), answer.text
    print(case, answer.text)
    assert said in answer.text


def test_policy_verify_with_the_tokens_of_pods(services: Services) -> None:
    """What each account's token may and may not do at Vault is what the access policy says, without a surprise."""
    tokens = {
        f"SECURE_XCOM_VERIFY_{name.upper().replace('-', '_')}": vault_token(services, name) for name in WITH_S3
    }
    done = services.command("policy", "verify", str(POLICY), "--on", "vault", "--json", **tokens)
    record = json.loads(done.stdout or done.stderr)
    assert [row for row in record["matrix"] if row["surprise"]] == []
    assert done.returncode == 0, done.stdout + done.stderr
    for name in WITH_S3:
        assert {row["allowed"] for row in record["matrix"] if row["identity"] == name} == {True, False}


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

"""Who gets in at Vault with the token of a service account, and who does not."""

from __future__ import annotations

import json

import pytest
import requests
from kubernetes import client

from tests.support.kubernetes.cluster import NodeCluster
from tests.support.kubernetes.programs import VERSION
from tests.support.kubernetes.s3_node import AUDIENCE
from tests.support.kubernetes.site import NAMESPACE, POLICY, WITH_S3, VaultSite


def login(vault_site: VaultSite, role: str, token: str) -> requests.Response:
    """Log in at Vault as a pod does."""
    return vault_site.vault.server.api("POST", "auth/kubernetes/login", {"role": role, "jwt": token}, token="")


def vault_token(vault_site: VaultSite, account: str) -> str:
    """Return what Vault gives the pods of an account."""
    answer = login(vault_site, account, vault_site.cluster.account_token(NAMESPACE, account, "vault"))
    assert answer.ok, answer.text
    return str(answer.json()["auth"]["client_token"])


def test_the_cluster_comes_up(vault_site: VaultSite) -> None:
    """The node takes pods; how long each part took is printed."""
    print(getattr(vault_site.cluster, "times", {}))
    version = client.VersionApi(vault_site.cluster.api).get_code().git_version
    print(version)
    if isinstance(vault_site.cluster, NodeCluster):
        assert version == f"v{VERSION}"


def test_policy_apply_makes_the_roles(vault_site: VaultSite) -> None:
    """Mount, keys, policies and Kubernetes roles were missing at Vault, and `policy apply` made each of them."""
    assert set(vault_site.applied.values()) == {"make"}
    roles = [step for step in vault_site.applied if step.startswith("role ")]
    assert len(roles) == len(WITH_S3)


def test_applying_again_changes_nothing(vault_site: VaultSite) -> None:
    """A second run finds everything as it would make it."""
    done = vault_site.command("policy", "apply", str(POLICY), "--to", "vault", "--json", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("account", WITH_S3)
def test_an_account_logs_in_as_its_own_role(vault_site: VaultSite, account: str) -> None:
    """Vault asks the cluster about the token, and gives the role's policies."""
    answer = login(vault_site, account, vault_site.cluster.account_token(NAMESPACE, account, "vault"))
    assert answer.status_code == 200, answer.text
    auth = answer.json()["auth"]
    assert f"secure-xcom-{account}" in auth["policies"]
    assert auth["metadata"]["service_account_name"] == account


def _another_namespace(vault_site: VaultSite) -> str:
    known = {namespace.metadata.name for namespace in vault_site.cluster.core.list_namespace().items}
    if "elsewhere" in known:
        return vault_site.cluster.account_token("elsewhere", "xcom-finance", "vault")
    vault_site.cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "xcom-finance", "namespace": "elsewhere"},
        },
    )
    return vault_site.cluster.account_token("elsewhere", "xcom-finance", "vault")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("another account", "service account name not authorized"),
        ("another namespace", "namespace not authorized"),
        ("another audience", "invalid audience"),
        ("the cluster's own audience", "invalid audience"),
        ("a forged token", "permission denied"),
    ],
)
def test_vault_refuses_any_other_token(vault_site: VaultSite, case: str, said: str) -> None:
    """Finance's role takes a token of finance's account in Airflow's namespace, made for Vault, and no other."""
    cluster = vault_site.cluster
    if case == "another account":
        token = cluster.account_token(NAMESPACE, "xcom-marketing", "vault")
    elif case == "another namespace":
        token = _another_namespace(vault_site)
    elif case == "another audience":
        token = cluster.account_token(NAMESPACE, "xcom-finance", AUDIENCE)
    elif case == "the cluster's own audience":
        token = cluster.account_token(NAMESPACE, "xcom-finance")
    else:
        head, body, _ = cluster.account_token(NAMESPACE, "xcom-finance", "vault").split(".")
        _, _, signature = cluster.account_token(NAMESPACE, "xcom-marketing", "vault").split(".")
        token = ".".join([head, body, signature])
    answer = login(vault_site, "xcom-finance", token)
    assert (answer.status_code, answer.ok) == (403, False), answer.text
    print(case, answer.text)
    assert said in answer.text


def test_policy_verify_with_the_tokens_of_pods(vault_site: VaultSite) -> None:
    """What each account's token may and may not do at Vault is what the access policy says, without a surprise."""
    tokens = {
        f"SECURE_XCOM_VERIFY_{name.upper().replace('-', '_')}": vault_token(vault_site, name) for name in WITH_S3
    }
    done = vault_site.command("policy", "verify", str(POLICY), "--on", "vault", "--json", **tokens)
    record = json.loads(done.stdout or done.stderr)
    assert [row for row in record["matrix"] if row["surprise"]] == []
    assert done.returncode == 0, done.stdout + done.stderr
    for name in WITH_S3:
        assert {row["allowed"] for row in record["matrix"] if row["identity"] == name} == {True, False}

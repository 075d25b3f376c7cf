"""docs/quickstart/kubernetes.md without a cluster: Vault, the bucket, and check as a pod of the shipped template.

OpenBao and the S3 server are real, and so are the commands of the page. Of the cluster there is a stand-in for
what these two ask of it: keys and reviews of service accounts' tokens. What a pod's container would get
(environment, tokens) is taken from the pod that the page makes of the template; its addresses become the servers'.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.support.deployed import HELM, ROOT, values
from tests.support.servers.certificates import PrivateCa
from tests.support.servers.s3_server import IamMore, S3Server, allow, s3_server
from tests.support.servers.token_issuer import ISSUER, TokenIssuer, token_issuer
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_server import VaultServer, dev_server

PAGE = ROOT / "docs" / "quickstart" / "kubernetes.md"
POLICY = "access_policy_vault.yaml"
ACCOUNTS = ("xcom-risk", "xcom-sandbox")
BUCKETS = ("example-xcom", "example-xcom-audit")


def blocks(heading: str) -> list[str]:
    """Return the page's blocks of commands below a heading."""
    [section] = [
        part for part in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE) if part.startswith(heading)
    ]
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [text for language, text in fenced if not language]


def of_program(program: str, heading: str) -> str:
    """Return the commands of one program below a heading, each with the lines that it goes on in."""
    commands = re.findall(rf"^{program} (?:[^\n']|'[^']*')*$", "".join(blocks(heading)), re.MULTILINE)
    return "\n".join(commands)


@dataclass
class Place:
    """Somebody who follows the page, and the servers that are had in place of a cluster's."""

    folder: Path
    environment: dict[str, str]
    vault: VaultServer
    s3: S3Server
    issuer: TokenIssuer

    def types(self, text: str, *, code: int = 0, **environment: str) -> str:
        """Type commands, and return what they say."""
        return _typed(self.folder, {**self.environment, **environment}, text, code)

    def in_pod(self, account: str, dag: str, *, audience: str = "vault") -> tuple[int, list[dict[str, str]]]:
        """Run what the pod of the page's step 6 runs, as an account; its exit code and findings."""
        template = self.folder / "pod.yaml"
        template.write_text(values("vault-kubernetes")["podTemplate"])
        command = of_program("kubectl", "6. ").split("kubectl patch")[1].split("\nkubectl")[0]
        command = command.replace('"xcom-risk"', f'"{account}"').replace("--dag risk_daily", f"--dag {dag} --json")
        self.types(f"kubectl patch{command}")
        pod = yaml.safe_load((self.folder / "check.yaml").read_text())
        assert pod["spec"]["serviceAccountName"] == account
        home = self.folder / account
        home.mkdir(exist_ok=True)
        mounted = {
            "/var/run/secrets/vault/token": self.issuer.issue("airflow", account, audience),
            "/var/run/secrets/eks.amazonaws.com/serviceaccount/token": self.issuer.issue(
                "airflow", account, "sts.amazonaws.com"
            ),
        }
        paths = {}
        for path, text in mounted.items():
            file = home / path.strip("/").replace("/", "-")
            file.write_text(text)
            paths[path] = str(file)
        environment = {
            "PATH": self.environment["PATH"],
            "HOME": str(home),
            "AIRFLOW_HOME": str(home),
            **_configuration(str(self.folder / POLICY)),
            **self._container(pod, account, paths),
            # What the webhook writes into a pod whose account has a role, and the S3 server's address.
            "AWS_ROLE_ARN": f"arn:aws:iam::111122223333:role/{account}-pods",
            "AWS_WEB_IDENTITY_TOKEN_FILE": paths["/var/run/secrets/eks.amazonaws.com/serviceaccount/token"],
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.s3.endpoint,
            "AWS_ENDPOINT_URL_STS": self.s3.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        (container,) = pod["spec"]["containers"]
        done = subprocess.run(container["args"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, json.loads(done.stdout)["findings"]

    def _container(self, pod: dict[str, Any], account: str, paths: dict[str, str]) -> dict[str, str]:
        """Return the environment of the pod's container, at the addresses that are had here."""
        (container,) = pod["spec"]["containers"]
        found = {}
        for entry in container["env"]:
            text = entry.get("value", account)
            found[entry["name"]] = text.replace("$(XCOM_SERVICE_ACCOUNT)", account)
        connection = json.loads(found["AIRFLOW_CONN_VAULT_XCOM"])
        address = urlsplit(self.vault.address)
        extra = connection["extra"]
        assert extra["kubernetes_role"] == account
        extra |= {"kubernetes_jwt_path": paths[extra["kubernetes_jwt_path"]], "use_tls": False}
        del extra["client_kwargs"]
        connection |= {"host": address.hostname, "port": address.port}
        return {**found, "AIRFLOW_CONN_VAULT_XCOM": json.dumps(connection)}


def _typed(folder: Path, environment: dict[str, str], text: str, code: int = 0) -> str:
    done = subprocess.run(
        ["bash", "-euc", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{text}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def _configuration(policy: str) -> dict[str, str]:
    """Return the chart's configuration as variables; the pod's own executor comes from its template."""
    found = {
        f"AIRFLOW__{section}__{name}".upper(): value
        for section, options in values()["config"].items()
        for name, value in options.items()
    }
    return {**found, "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": policy}


def _roles(compiled: Path) -> IamMore:
    """Return what step 4 says to do at the S3 server: a role for each account, which trusts that account alone."""
    policies, roles = [], []
    for account in ACCOUNTS:
        document = json.loads((compiled / f"aws/identities/{account}.json").read_text())
        document["Statement"].append(allow(["PutObject", "GetObject"], "example-xcom-audit/access-log/*"))
        policies.append({"name": account, "document": document})
        trust = {
            "Effect": "Allow",
            "Principal": {"Federated": "cluster"},
            "Action": ["sts:AssumeRoleWithWebIdentity"],
            "Condition": {"StringEquals": {"oidc:sub": f"system:serviceaccount:airflow:{account}"}},
        }
        roles.append(
            {
                "roleName": f"{account}-pods",
                "roleArn": f"arn:aws:iam::111122223333:role/{account}-pods",
                "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
                "attachedPolicies": [account],
            }
        )
    return IamMore(policies=policies, roles=roles)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Somebody who has done steps 1, 3 and 4."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl on PATH, which makes the pod of the page")
    binary = binary_of("openbao")
    folder = tmp_path_factory.mktemp("quickstart-kubernetes")
    for path in HELM.glob("*.yaml"):
        shutil.copy(path, folder)
    commands = folder / "bin"
    commands.mkdir()
    (commands / "vault").write_text(f'#!/bin/sh\nexec "{binary}" "$@"\n')
    (commands / "vault").chmod(0o755)
    with token_issuer() as issuer, dev_server(binary, folder, "openbao") as vault:
        environment = {
            "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "AIRFLOW_HOME": str(folder / "airflow"),
            "VAULT_ADDR": vault.address,
            "VAULT_TOKEN": vault.token,
        }
        _typed(folder, environment, "".join(blocks("4. ")))
        more = _roles(folder / "compiled")
        provider = {
            "name": "cluster",
            "type": "oidc",
            "enabled": True,
            "config": {
                "issuer": ISSUER,
                "clientId": "sts.amazonaws.com",
                "jwksUri": f"{issuer.address}/openid/v1/jwks",
            },
        }
        with s3_server(iam=IamMore([provider], more.policies, more.roles)) as s3:
            for bucket in BUCKETS:
                s3.client().create_bucket(Bucket=bucket)
            found = Place(folder, environment, vault, s3, issuer)
            said = found.types(blocks("1. ")[0])
            assert "0 errors, 0 warnings" in said
            reviewer = issuer.issue("vault", "vault", ISSUER)
            (vault_and_apply,) = blocks("3. ")
            # In a pod it reads its own account's token and the cluster's CA; here both are told.
            authority = PrivateCa(folder).cert
            outside = f"{issuer.address} token_reviewer_jwt={reviewer} kubernetes_ca_cert=@{authority}"
            found.types(vault_and_apply.replace(ISSUER, outside))
            yield found


@pytest.mark.parametrize(("account", "dag"), [("xcom-risk", "risk_daily"), ("xcom-sandbox", "anything")])
def test_check_passes_in_a_pod_of_each_compartment(place: Place, account: str, dag: str) -> None:
    """By the pod's tokens alone it wraps and unwraps, writes and reads, and can write the access log."""
    code, findings = place.in_pod(account, dag)
    told = {finding["subject"]: finding for finding in findings}
    key = f"vault://vault_xcom/transit/keys/{account}"
    wrong = [
        finding
        for finding in findings
        if finding["status"] == "error" and "does not use TLS" not in finding["text"]
    ]
    assert wrong == []
    assert told[f"wrap and unwrap {key}"]["status"] == "ok"
    assert told["put, get and delete in s3://example-xcom/sealed"]["status"] == "ok"
    assert told["access log s3://example-xcom-audit/access-log"]["text"] == "can be written"
    assert any("logged in by kubernetes" in finding["text"] for finding in findings)
    assert code == (1 if [finding for finding in findings if finding["status"] != "ok"] else 0)
    assert f"system:serviceaccount:airflow:{account}" in place.issuer.reviews


def test_another_account_is_refused_by_vault_and_by_the_bucket(place: Place) -> None:
    """A pod of sandbox that acts as a DAG of risk gets neither the key nor a place for an object."""
    code, findings = place.in_pod("xcom-sandbox", "risk_daily")
    refused = {finding["subject"]: finding["text"] for finding in findings if finding["status"] == "error"}
    assert code == 1
    assert "Vault's policy" in refused["wrap and unwrap vault://vault_xcom/transit/keys/xcom-risk"]
    assert "put, get and delete in s3://example-xcom/sealed" in refused
    remedies = " ".join(finding["remedy"] for finding in findings)
    assert "init --vault" not in remedies


@pytest.mark.parametrize(
    ("namespace", "account", "audience"),
    [("airflow", "xcom-risk", ISSUER), ("other", "xcom-risk", "vault"), ("airflow", "xcom-sandbox", "vault")],
    ids=["another audience", "another namespace", "another account"],
)
def test_only_the_pods_of_an_account_log_in_to_its_role(
    place: Place, namespace: str, account: str, audience: str
) -> None:
    """The role that `policy apply` made is bound to one account of one namespace, and to Vault's audience."""
    token = place.issuer.issue(namespace, account, audience)
    answer = place.vault.api("POST", "auth/kubernetes/login", {"role": "xcom-risk", "jwt": token}, token="")
    assert answer.status_code in (400, 403), answer.text
    good = place.issuer.issue("airflow", "xcom-risk", "vault")
    assert place.vault.api("POST", "auth/kubernetes/login", {"role": "xcom-risk", "jwt": good}, token="").ok


def test_the_page_is_applied_once(place: Place) -> None:
    """The last command of step 3, run again, has nothing to do."""
    # A dry run ends with 1 where there is something to make.
    place.types(f"secure-xcom policy apply {POLICY} --to vault --dry-run")

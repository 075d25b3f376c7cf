"""Hostile code in marketing's pod: with the tokens and connections that the pod has, past our code."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task
from airflow.sdk.bases.xcom import BaseXCom

from tests.kubernetes.kit import note

RUN = "daily"
CA = "/etc/vault-ca/ca.pem"
VAULT = "https://vault.vault.svc:8200/v1"
CLUSTER = "https://kubernetes.default.svc"
NODE = "https://10.244.0.1:10250"
ROLE = "arn:aws:iam::000000000000:role/xcom-finance"
AIRFLOW = "/api/v1/namespaces/airflow"


def tried(call: Callable[[], Any]) -> str:
    """Return what came of it: the status of a server's answer, or the class of an error."""
    from botocore.exceptions import ClientError

    try:
        answer = call()
    except ClientError as error:
        return f"{error.response['ResponseMetadata']['HTTPStatusCode']} {error.response['Error']['Code']}"
    except Exception as error:  # noqa: BLE001  # an attacker takes what comes
        return type(error).__name__
    return str(answer.status_code) if hasattr(answer, "status_code") else "opened"


def _context(reference: Any) -> str:
    from secure_xcom.keys.vault_context import transit_context

    names = ("compartment", "dag_id", "task_id", "run_id", "map_index")
    return base64.b64encode(transit_context({name: reference["head"][name] for name in names})).decode()


def _at_vault(theirs: Any) -> dict[str, Callable[[], Any]]:
    import requests

    jwt = Path("/var/run/secrets/vault/token").read_text()
    login = partial(requests.post, f"{VAULT}/auth/kubernetes/login", verify=CA, timeout=10)
    token = login(json={"role": "xcom-marketing", "jwt": jwt}).json()["auth"]["client_token"]
    call = partial(requests.request, headers={"X-Vault-Token": token}, verify=CA, timeout=10)
    body = {"ciphertext": theirs["keys"][0]["wrapped"], "context": _context(theirs)}
    return {
        "Vault: log in as finance": lambda: login(json={"role": "xcom-finance", "jwt": jwt}),
        "Vault: log in as maintenance": lambda: login(json={"role": "xcom-maintenance", "jwt": jwt}),
        "Vault: unwrap with finance's key": lambda: call(
            "POST", f"{VAULT}/transit/decrypt/xcom-finance", json=body
        ),
        "Vault: read finance's key": lambda: call("GET", f"{VAULT}/transit/keys/xcom-finance"),
        "Vault: change finance's role": lambda: call(
            "POST", f"{VAULT}/auth/kubernetes/role/xcom-finance", json={"bound_service_account_names": "*"}
        ),
        "Vault: change the method": lambda: call(
            "POST", f"{VAULT}/auth/kubernetes/config", json={"kubernetes_host": "https://10.244.0.99"}
        ),
    }


def _at_s3(theirs: Any) -> dict[str, Callable[[], Any]]:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    plain = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    token = Path(os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"]).read_text()
    endpoint = os.environ["AWS_ENDPOINT_URL_STS"]
    sts = boto3.client("sts", endpoint_url=endpoint, config=Config(signature_version=UNSIGNED))
    taken = partial(sts.assume_role_with_web_identity, RoleSessionName="hostile", WebIdentityToken=token)
    s3 = boto3.client("s3", endpoint_url=endpoint, config=plain)
    name = str(theirs["head"]["object"]).removeprefix("s3://xcom/")
    other = name.replace("finance_daily", "finance_ways")
    return {
        "S3: be finance at the STS": lambda: taken(RoleArn=ROLE),
        "S3: list finance's objects": lambda: s3.list_objects_v2(Bucket="xcom", Prefix="sealed/finance/"),
        "S3: get an object of a DAG that it may not read": lambda: s3.get_object(Bucket="xcom", Key=other),
        "S3: overwrite an object of finance": lambda: s3.put_object(Bucket="xcom", Key=name, Body=b"x"),
        "S3: delete an object of finance": lambda: s3.delete_object(Bucket="xcom", Key=name),
        "S3: list the access log": lambda: s3.list_objects_v2(Bucket="xcom-audit"),
    }


def _at_the_cluster() -> dict[str, Callable[[], Any]]:
    import requests

    tokens = {"Vault's": "/var/run/secrets/vault/token", "S3's": os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"]}
    ask = {"spec": {"audiences": ["vault"]}}
    ways: dict[str, Callable[[], Any]] = {}
    for whose, file in tokens.items():
        header = {"Authorization": f"Bearer {Path(file).read_text()}"}
        call = partial(requests.request, headers=header, verify=CA, timeout=10)
        ways |= {
            f"cluster: list pods with {whose} token": partial(call, "GET", f"{CLUSTER}{AIRFLOW}/pods"),
            f"cluster: read Secrets with {whose} token": partial(call, "GET", f"{CLUSTER}{AIRFLOW}/secrets"),
            f"cluster: start a pod with {whose} token": partial(call, "POST", f"{CLUSTER}{AIRFLOW}/pods", json={}),
            f"cluster: a token of finance's account with {whose} token": partial(
                call, "POST", f"{CLUSTER}{AIRFLOW}/serviceaccounts/xcom-finance/token", json=ask
            ),
            f"kubelet: list pods with {whose} token": partial(call, "GET", f"{NODE}/pods"),
        }
    ways["cluster: list pods without a token"] = partial(
        requests.get, f"{CLUSTER}{AIRFLOW}/pods", verify=CA, timeout=10
    )
    return ways


with DAG(
    "marketing_hostile", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False
) as hostile:

    @task
    def steals() -> None:
        """Tries every way. What came of it stands in the pod's log."""
        theirs: Any = BaseXCom.get_one(
            dag_id="finance_daily", task_id="collect", run_id=RUN, key="return_value", map_index=-1
        )
        ways = {**_at_vault(theirs), **_at_s3(theirs), **_at_the_cluster()}
        note("refusals", {name: tried(call) for name, call in ways.items()})
        mounted = Path("/var/run/secrets/kubernetes.io").exists()
        note("a token of the cluster's API is mounted", mounted)
        note("environment", json.dumps(sorted(os.environ)))

    steals()

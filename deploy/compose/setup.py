"""Sets up the compose deployment, once: Vault, the bucket, an identity for each worker. Run again, it goes on.

Keys, policies and roles are made by `secure-xcom policy apply`; this file has only what that command leaves to an
operator: the first start of the server, the bucket, the users, and handing out their credentials.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

POLICY = "/opt/airflow/config/access_policy.yaml"
BUCKET = "xcom"
LOGS_BUCKET = "task-logs"
# Whose file it is where Docker has no user of that name: Airflow's in the official image.
AIRFLOW_UID = 50_000
START_SECONDS = 120
# identity of the access policy -> the volume that its worker alone mounts
IDENTITIES = {
    "finance-workers": "finance",
    "marketing-workers": "marketing",
    "maintenance": "maintenance",
}
# identity -> the queue of its worker, which writes task logs as a user of its own, into the queue's folder alone:
# `log_filename_template` in compose.yaml. `policy apply` keeps the identity's user for itself.
QUEUES = {"finance-workers": "finance", "marketing-workers": "marketing"}
# The user as which the API server reads task logs, and the volume that it mounts.
LOG_READER, LOG_READER_VOLUME = "task-log-reader", "task-logs"


class Vault:
    """The few calls that an operator makes with a token."""

    def __init__(self, address: str, token: str = "") -> None:
        self.address = address
        self.token = token

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One request. The answer, or {} where there is none to read."""
        request = urllib.request.Request(  # noqa: S310  # the address is the deployment's own
            f"{self.address}/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"X-Vault-Token": self.token} if self.token else {},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else {}


def start(vault: Vault, kept: Path) -> str:
    """Initialize the server if nobody has, and give the operator's token, which is kept in a volume of its own."""
    if not vault.call("GET", "sys/init")["initialized"]:
        # With an auto-unseal these are recovery keys: they allow a new root token, and open nothing.
        made = vault.call("PUT", "sys/init", {"recovery_shares": 1, "recovery_threshold": 1})
        write_private(kept, json.dumps(made), owner=0)
    deadline = time.monotonic() + START_SECONDS
    while vault.call("GET", "sys/seal-status")["sealed"]:
        if time.monotonic() > deadline:
            raise SystemExit("Vault stays sealed: look at its log")
        time.sleep(1)
    return str(json.loads(kept.read_text())["root_token"])


def make_users(s3: Any, iam: Any) -> None:
    """Make the buckets and the users where they are not there yet, and say who may write and read task logs."""
    from botocore.exceptions import ClientError

    existing = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    for bucket in (BUCKET, LOGS_BUCKET):
        if bucket not in existing:
            s3.create_bucket(Bucket=bucket)
    rights = log_rights()
    for name in (*IDENTITIES, *rights):
        try:
            iam.get_user(UserName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise
            iam.create_user(UserName=name)
    for name, statements in rights.items():
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName=LOGS_BUCKET, PolicyDocument=document)


def log_rights() -> dict[str, list[dict[str, Any]]]:
    """Return the statements of each user about task logs: a worker has its own queue's, the reader reads all."""
    bucket = f"arn:aws:s3:::{LOGS_BUCKET}"
    found: dict[str, list[dict[str, Any]]] = {
        LOG_READER: [
            {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [bucket]},
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"{bucket}/*"]},
        ]
    }
    for queue in QUEUES.values():
        folder = f"queue={queue}/"
        found[log_writer(queue)] = [
            # Airflow reads before it writes: the log of a task that comes again is one file.
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": [f"{bucket}/{folder}*"]},
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": [bucket],
                "Condition": {"StringLike": {"s3:prefix": [f"{folder}*"]}},
            },
        ]
    return found


def log_writer(queue: str) -> str:
    """Return the user as which a queue's workers write task logs."""
    return f"{queue}-task-logs"


def connections(role_id: str, secret_id: str, access_key: str, secret_key: str) -> dict[str, Any]:
    """Return the two Airflow connections that the access policy names, as one identity."""
    return {
        "vault_xcom": {
            "conn_type": "vault",
            "host": "vault",
            "port": 8200,
            "login": role_id,
            "password": secret_id,
            "extra": {"auth_type": "approle", "use_tls": False},
        },
        "s3_xcom": s3_connection(access_key, secret_key),
    }


def s3_connection(access_key: str, secret_key: str) -> dict[str, Any]:
    """Return an Airflow connection to the S3 server as one user."""
    return {
        "conn_type": "aws",
        "login": access_key,
        "password": secret_key,
        "extra": {"endpoint_url": "http://s3:8333", "region_name": "us-east-1"},
    }


def hand_out(vault: Vault, iam: Any, name: str, file: Path) -> None:
    """Write new credentials of one identity into its file, and end its old ones.

    Tokens that were logged in for before go on to their own end, a day at the most.
    """
    role = f"auth/approle/role/{name}"
    before = secret_ids(vault, role)
    role_id = vault.call("GET", f"{role}/role-id")["data"]["role_id"]
    secret_id = vault.call("POST", f"{role}/secret-id", {})["data"]["secret_id"]
    key = new_key(iam, name)
    found = connections(role_id, secret_id, key["AccessKeyId"], key["SecretAccessKey"])
    if name in QUEUES:
        key = new_key(iam, log_writer(QUEUES[name]))
        found["s3_task_logs"] = s3_connection(key["AccessKeyId"], key["SecretAccessKey"])
    write_private(file, json.dumps(found), owner=AIRFLOW_UID)
    for accessor in before:
        vault.call("POST", f"{role}/secret-id-accessor/destroy", {"secret_id_accessor": accessor})


def hand_out_to_log_reader(iam: Any, file: Path) -> None:
    """Write a new key of the user that reads task logs into its file, and end its old one."""
    key = new_key(iam, LOG_READER)
    lines = (
        "[default]",
        f"aws_access_key_id = {key['AccessKeyId']}",
        f"aws_secret_access_key = {key['SecretAccessKey']}",
    )
    write_private(file, "\n".join(lines) + "\n", owner=AIRFLOW_UID)


def new_key(iam: Any, name: str) -> dict[str, str]:
    """Make a new access key of a user, and end its old ones."""
    for old in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=name, AccessKeyId=old["AccessKeyId"])
    key: dict[str, str] = iam.create_access_key(UserName=name)["AccessKey"]
    return key


def secret_ids(vault: Vault, role: str) -> list[str]:
    """Return the accessors of a role's secret ids."""
    try:
        return list(vault.call("LIST", f"{role}/secret-id")["data"]["keys"])
    except urllib.error.HTTPError as error:
        # A list of nothing is an error here.
        if error.code != 404:
            raise
        return []


def write_private(file: Path, text: str, *, owner: int) -> None:
    """Write a file for its owner alone, all of it or none."""
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    if os.geteuid() == 0:
        os.chown(new, owner, 0)
    new.replace(file)


def main(arguments: list[str]) -> int:
    """Everything, in order. `--renew` hands out new credentials to identities that have some."""
    import boto3

    vault = Vault(os.environ["VAULT_ADDR"])
    vault.token = start(vault, Path("/operator/init.json"))
    s3, iam = boto3.client("s3"), boto3.client("iam")
    make_users(s3, iam)
    # The token goes by the environment, never by an argument: those can be seen by every process.
    subprocess.run(  # noqa: S603  # a list of our own words
        ["secure-xcom", "policy", "apply", POLICY, "--to", "vault", "--to", "iam"],  # noqa: S607
        env={**os.environ, "VAULT_TOKEN": vault.token},
        check=True,
    )
    for name, volume in IDENTITIES.items():
        file = Path("/identities") / volume / "connections.json"
        if "--renew" in arguments or not file.exists():
            hand_out(vault, iam, name, file)
            sys.stdout.write(f"{name}: new credentials\n")
    file = Path("/identities") / LOG_READER_VOLUME / "credentials.ini"
    if "--renew" in arguments or not file.exists():
        hand_out_to_log_reader(iam, file)
        sys.stdout.write(f"{LOG_READER}: new credentials\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

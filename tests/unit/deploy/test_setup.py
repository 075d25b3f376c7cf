"""deploy/compose/make-secrets and setup.py: what they make is new, whole, for its owner alone, and can be read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from airflow.secrets.local_filesystem import LocalFilesystemBackend
from botocore.credentials import SharedCredentialProvider
from cryptography.fernet import Fernet

from secure_xcom.connections.aws.identity import AwsIdentity
from secure_xcom.connections.vault.auth import token_source
from tests.support import deployed
from tests.support.deployed import COMPOSE

FILE = deployed.compose()
POLICY = COMPOSE / "access_policy.yaml"
SETUP = deployed.compose_setup()


def _made(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "secrets").iterdir()}


def test_make_secrets_makes_each_secret_once(tmp_path: Path) -> None:
    """New ones in each checkout, kept when it is run again, for the owner alone, and all that the file names."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        deployed.made_secrets(folder)
    first, other = (_made(folder) for folder in folders)
    assert {f"secrets/{name}" for name in first} >= {secret["file"] for secret in FILE["secrets"].values()}
    assert all(first[name] != other[name] for name in first)
    subprocess.run([folders[0] / "make-secrets"], check=True, capture_output=True)
    assert _made(folders[0]) == first
    assert stat.S_IMODE((folders[0] / "secrets").stat().st_mode) == 0o700


def _pin(folder: Path, answer: str) -> subprocess.CompletedProcess[str]:
    """Run pin-images in a copy, with a `docker` in front that gives one answer for each tag that it is asked."""
    for name in ("pin-images", "images.env"):
        shutil.copy(COMPOSE / name, folder)
    docker = folder / "docker"
    docker.write_text(f'#!/bin/sh\nfor tag; do :; done\necho "$*" >>"{folder}/asked"\n{answer}\n')
    docker.chmod(0o755)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run([folder / "pin-images"], env=env, capture_output=True, text=True, check=False)


def test_pin_images_writes_the_digests_of_the_same_tags(tmp_path: Path) -> None:
    """Each tag is asked for without its old digest, and stands there with the new one; comments stay."""
    done = _pin(tmp_path, 'echo "sha256:$(printf %s "$tag" | sha256sum | cut -d" " -f1)"')
    assert done.returncode == 0, done.stderr
    before, after = (COMPOSE / "images.env").read_text(), (tmp_path / "images.env").read_text()
    tags = [image.split("@")[0] for image in deployed.images_env().values()]
    assert [line.split()[-1] for line in (tmp_path / "asked").read_text().splitlines()] == tags
    lines = dict(line.split("=", 1) for line in after.splitlines() if not line.startswith("#"))
    assert lines == {
        name: f"{image.split('@')[0]}@sha256:{hashlib.sha256(image.split('@')[0].encode()).hexdigest()}"
        for name, image in deployed.images_env().items()
    }
    assert [line for line in after.splitlines() if line.startswith("#")] == [
        line for line in before.splitlines() if line.startswith("#")
    ]


@pytest.mark.parametrize("answer", ["exit 1", "echo", "echo no such manifest"])
def test_pin_images_leaves_the_file_where_a_registry_gives_no_digest(answer: str, tmp_path: Path) -> None:
    """A failure, an empty answer and one that is no digest change nothing, and nothing is left beside the file."""
    done = _pin(tmp_path, answer)
    assert done.returncode != 0
    assert (tmp_path / "images.env").read_text() == (COMPOSE / "images.env").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"pin-images", "images.env", "docker", "asked"}


def test_what_make_secrets_makes_is_read_by_the_programs(tmp_path: Path) -> None:
    """Keys have their lengths, files their forms, and a service's password is in the address of its client."""
    deployed.made_secrets(tmp_path)
    made = _made(tmp_path)
    Fernet(made["fernet_key"])
    assert len(made["vault_unseal_key"]) == 32
    assert made["sql_alchemy_conn"].decode().count(made["postgres_password"].decode()) == 1
    assert made["broker_password_finance"] in made["broker_finance"]
    assert len(json.loads(made["admin_password.json"])["admin"]) == 32
    (operator,) = json.loads(made["s3.json"])["identities"]
    assert operator["credentials"][0]["secretKey"].encode() in made["s3_operator.ini"]
    assert json.loads(made["s3_iam.json"])["policy"]["defaultEffect"] == "Deny"


def test_the_connections_of_an_identity_are_read_by_airflow(tmp_path: Path) -> None:
    """The file that setup writes gives Airflow's own backend the connections that the access policy names."""
    file = tmp_path / "connections.json"
    SETUP.write_private(file, json.dumps(SETUP.connections("role", "a-secret-id", "AKID", "a-secret")), owner=0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o400
    backend = LocalFilesystemBackend(connections_file_path=str(file))
    named = set(re.findall(r"(?:vault|s3)://(\w+)[@/]", POLICY.read_text()))
    assert named == set(json.loads(file.read_text()))
    vault, s3 = backend.get_connection("vault_xcom"), backend.get_connection("s3_xcom")
    assert vault
    assert (vault.host, vault.login, vault.extra_dejson["auth_type"]) == ("vault", "role", "approle")
    assert s3
    assert (s3.conn_type, s3.extra_dejson["endpoint_url"]) == ("aws", "http://s3:8333")


def test_the_connections_lead_to_the_servers_of_the_compose_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own code makes of them the addresses under which the compose file's services answer."""
    for conn_id, one in SETUP.connections("a-role-id", "a-secret-id", "AN-ID", "a-secret").items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(one))
    assert token_source("vault_xcom").server.address == "http://vault:8200"
    assert AwsIdentity("s3_xcom").client("s3", None).meta.endpoint_url == "http://s3:8333"
    assert {"vault", "s3"} <= set(FILE["services"])
    assert "-s3.port=8333" in FILE["services"]["s3"]["command"]
    assert 'address     = "0.0.0.0:8200"' in (COMPOSE / "openbao.hcl").read_text()


class Vault:
    """A Vault in memory, of which setup asks only this."""

    def __init__(self, *, initialized: bool) -> None:
        self.initialized = initialized
        self.asked: list[tuple[str, str]] = []
        self.accessors = ["old", "older"]

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """An answer in the form of Vault's API."""
        self.asked.append((method, path))
        if (method, path) == ("PUT", "sys/init"):
            assert not self.initialized
            self.initialized = True
            return {"root_token": "of-the-operator", "recovery_keys": ["kept"]}
        role = "auth/approle/role/finance-workers"
        if (method, path) == ("LIST", f"{role}/secret-id"):
            return {"data": {"keys": list(self.accessors)}}
        if (method, path) == ("POST", f"{role}/secret-id-accessor/destroy"):
            self.accessors.remove(str((body or {})["secret_id_accessor"]))
            return {}
        if path == f"{role}/secret-id":
            self.accessors.append("new")
        answers: dict[str, dict[str, Any]] = {
            "sys/init": {"initialized": self.initialized},
            "sys/seal-status": {"sealed": not self.initialized},
            "auth/approle/role/finance-workers/role-id": {"data": {"role_id": "role-of-finance"}},
            "auth/approle/role/finance-workers/secret-id": {"data": {"secret_id": "secret-of-finance"}},
        }
        return answers[path]


class Iam:
    """The users' keys of an IAM in memory."""

    def __init__(self) -> None:
        self.keys = {"finance-workers": ["OLD"], "finance-task-logs": ["OLD"], "maintenance": ["OTHER"]}
        self.keys["task-log-reader"] = ["OLD"]

    def list_access_keys(self, *, UserName: str) -> dict[str, Any]:  # noqa: N803  # IAM's own names
        """As IAM answers."""
        return {"AccessKeyMetadata": [{"AccessKeyId": key} for key in self.keys[UserName]]}

    def delete_access_key(self, *, UserName: str, AccessKeyId: str) -> None:  # noqa: N803
        """As IAM does."""
        self.keys[UserName].remove(AccessKeyId)

    def create_access_key(self, *, UserName: str) -> dict[str, Any]:  # noqa: N803
        """As IAM answers."""
        self.keys[UserName].append("NEW")
        return {"AccessKey": {"AccessKeyId": "NEW", "SecretAccessKey": "new-secret"}}


def test_setup_starts_a_vault_once_and_keeps_the_operators_token(tmp_path: Path) -> None:
    """The token is on the disk before anything else is asked, for its owner alone, and a second run uses it."""
    vault, kept = Vault(initialized=False), tmp_path / "init.json"
    assert SETUP.start(vault, kept) == "of-the-operator"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o400
    assert SETUP.start(vault, kept) == "of-the-operator"
    assert vault.asked.count(("PUT", "sys/init")) == 1


def test_setup_hands_out_one_identity_and_ends_its_old_credentials(tmp_path: Path) -> None:
    """The file holds its new credentials; its old key and secret ids are gone, another user's key is not."""
    vault, iam, file = Vault(initialized=True), Iam(), tmp_path / "connections.json"
    SETUP.hand_out(vault, iam, "finance-workers", file)
    found = json.loads(file.read_text())
    assert (found["vault_xcom"]["login"], found["vault_xcom"]["password"]) == (
        "role-of-finance",
        "secret-of-finance",
    )
    for conn_id in ("s3_xcom", "s3_task_logs"):
        assert (found[conn_id]["login"], found[conn_id]["password"]) == ("NEW", "new-secret")
    assert iam.keys == {
        "finance-workers": ["NEW"], "finance-task-logs": ["NEW"],
        "maintenance": ["OTHER"], "task-log-reader": ["OLD"],
    }  # fmt: skip
    assert vault.accessors == ["new"]


def test_setup_gives_the_api_server_a_user_that_reads_logs(tmp_path: Path) -> None:
    """Its file is one that AWS' own client reads, for its owner alone, and no connection; the old key ends."""
    iam, file = Iam(), tmp_path / "credentials.ini"
    SETUP.hand_out_to_log_reader(iam, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o400
    credentials = SharedCredentialProvider(str(file)).load()
    assert (credentials.access_key, credentials.secret_key) == ("NEW", "new-secret")
    assert iam.keys["task-log-reader"] == ["NEW"]

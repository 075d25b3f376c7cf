"""docs/evidence/approval/incidents.md: its commands do what the page says, on a real Vault or OpenBao.

Those for AWS run on moto's IAM, which keeps policies and enforces none, and on a double of KMS with key states.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from secure_xcom.connections.vault.client import forget_clients
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import KeyVersionUnknown
from secure_xcom.core.service_errors import KeyPendingDeletion
from secure_xcom.keys.vault_context import transit_context
from tests.support import iam_evaluator
from tests.support.access_logs import chain, write
from tests.support.documented import ROOT, blocks
from tests.support.servers import aws_connections
from tests.support.servers.kms_double import ACCOUNT, KmsDouble
from tests.support.servers.kms_server import kms_endpoint
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_realm import own_flavours
from tests.support.servers.vault_server import VaultServer, dev_server
from tests.support.stopped_clock import stopped
from tests.support.upkeep_world import Upkeep

# Some fifteen commands, each a process that loads Airflow's configuration.
pytestmark = [pytest.mark.usefixtures("fresh"), pytest.mark.timeout(900)]

PAGE = ROOT / "docs" / "evidence" / "approval" / "incidents.md"
STEPS = blocks(PAGE, "sh")
REVOKE = ROOT / "docs" / "how-to" / "revoke.md"
KEY = "vault://vault_xcom/transit/keys/xcom-finance"
IDENTITIES = """\
identities:
  - name: finance-workers
    workers_of: [finance]
    vault: {auth: approle}
  - name: maintenance
    grants: [{compartment: finance, as: maintenance}]
    vault: {auth: approle}
"""
# The `aws` of the tests' own environment.
AWS_PATH = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


class Site:
    """A deployment with a Vault of its own, whose settings every command of the page is given."""

    def __init__(self, folder: Path, vault: str = "", server: VaultServer | None = None) -> None:
        self.folder = folder
        self.server = server
        programs = folder / "bin"
        programs.mkdir()
        for name, line in {
            "vault": f'exec "{vault}" "$@"',
            "secure-xcom": f'exec "{sys.executable}" -c "from secure_xcom.cli import main; main()" "$@"',
        }.items():
            (programs / name).write_text(f"#!/bin/sh\n{line}\n")
            (programs / name).chmod(0o755)
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("AIRFLOW", "SECURE_XCOM"))
            },
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_HOME": str(folder / "home"),
            **({"VAULT_ADDR": server.address, "VAULT_TOKEN": server.token} if server else {}),
        }

    def run(self, script: str, environment: Mapping[str, str] | None = None, *, code: int = 0) -> str:
        """Run commands as the operator does, in the site's folder."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"{script}\n{done.stdout[-3000:]}"
        return done.stdout

    def step(self, beginning: str, environment: Mapping[str, str] | None = None, *, code: int = 0) -> str:
        """Run the page's block that begins so."""
        (block,) = [block for block in STEPS if block.startswith(beginning)]
        return self.run(block, environment, code=code)

    def login(self, role_id: str, secret_id: str) -> tuple[int, str]:
        """The status of a login at the AppRole method, and the token."""
        body = {"role_id": role_id, "secret_id": secret_id}
        assert self.server
        answer = requests.post(f"{self.server.address}/v1/auth/approle/login", json=body, timeout=20)
        return answer.status_code, answer.json().get("auth", {}).get("client_token", "")

    def decrypt(self, reference: Mapping[str, Any], token: str = "") -> int:
        """The status of a raw unwrap of a reference's wrap; by default the administrator's."""
        names = ("compartment", "dag_id", "task_id", "run_id", "map_index")
        context = transit_context({name: reference["head"][name] for name in names})
        body = {
            "ciphertext": reference["keys"][0]["wrapped"],
            "context": base64.b64encode(context).decode(),
        }
        assert self.server
        return self.server.api("POST", "transit/decrypt/xcom-finance", body, token or None).status_code

    def connection(self, role: str) -> str:
        """The Airflow connection of a role, with a new secret id."""
        role_id = self.run(f"vault read -field=role_id auth/approle/role/{role}/role-id")
        secret_id = self.run(f"vault write -f -field=secret_id auth/approle/role/{role}/secret-id")
        assert self.server
        host, port = self.server.address.removeprefix("http://").split(":")
        return json.dumps(
            {
                "conn_type": "vault",
                "login": role_id,
                "password": secret_id,
                "schema": "http",
                "host": host,
                "port": int(port),
                "extra": {"auth_type": "approle"},
            }
        )


@pytest.fixture(params=own_flavours())
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A Vault in which nothing is set up yet."""
    with dev_server(binary_of(request.param), tmp_path, request.param) as server:
        yield Site(tmp_path, str(binary_of(request.param)), server)


def deployment(site: Site, keys: str, more: str = "") -> Upkeep:
    """A deployment whose compartment is the page's."""
    upkeep = Upkeep(site.folder / "deployment")
    upkeep.write_policy(keys=keys)
    upkeep.policy_file.write_text(upkeep.policy_file.read_text().replace("name: pay", "name: finance") + more)
    upkeep.policy = AccessPolicy.load(str(upkeep.policy_file))
    (site.folder / "airflow.cfg").write_text(
        f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\naudit_sinks = file://{site.folder}/log.jsonl\n"
    )
    return upkeep


def oldest_of(report: str) -> str:
    """The version that the report of `rewrap` names."""
    (version,) = re.findall(r"the oldest wrap was made by version (\d+)$", report, re.MULTILINE)
    return str(version)


def test_leaked_logins_workers_and_databases(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaked secret id and its token end, a use of the key is found, and old wraps end for good."""
    upkeep = deployment(site, KEY, IDENTITIES)
    config = {"AIRFLOW_CONFIG": f"{site.folder}/airflow.cfg"}
    site.run(f"secure-xcom policy apply {upkeep.policy_file} --to vault || test $? -eq 1")
    site.run(f"vault audit enable file file_path={site.folder}/vault-audit.log")
    # The key has been rotated for months.
    for _ in range(3):
        site.run("vault write -f transit/keys/xcom-finance/rotate")

    # A secret id has leaked.
    role_id = site.run("vault read -field=role_id auth/approle/role/finance-workers/role-id").strip()
    leaked = site.run("vault write -f -field=secret_id auth/approle/role/finance-workers/secret-id").strip()
    code, token = site.login(role_id, leaked)
    assert code == 200
    monkeypatch.setenv("AIRFLOW_CONN_VAULT_XCOM", site.connection("finance-workers"))
    forget_clients()
    an_hour_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    with stopped(an_hour_ago):
        at = upkeep.push({"n": 1})
    stolen = upkeep.table.value(at)
    assert stolen["keys"][0]["wrapped"].startswith("vault:v4:")
    assert site.decrypt(stolen, token) == 200
    site.step("vault write auth/approle/role/finance-workers/secret-id/destroy", {"LEAKED": leaked})
    assert site.login(role_id, leaked)[0] == 400
    assert site.decrypt(stolen, token) == 403
    site.step("vault write -f -field=secret_id")
    assert site.login(role_id, (site.folder / "new-secret-id").read_text().strip())[0] == 200

    # A worker is compromised: what it pulled, and the unwrap above that is no task's.
    with stopped(an_hour_ago):
        assert upkeep.pull(at) == {"n": 1}, "workers log in anew"
    (site.folder / "log.jsonl").write_bytes(b"".join(line.data + b"\n" for line in upkeep.sink.lines))
    searched = site.step("secure-xcom audit search", {**config, "WORKER": socket.gethostname()})
    assert "pull" in searched
    earlier(site.folder / "vault-audit.log", timedelta(hours=1))
    log = {"VAULT_LOG": f"{site.folder}/vault-audit.log.earlier"}
    found = site.step("secure-xcom audit reconcile", {**config, **log}, code=1)
    assert "outside" in found
    assert "127.0.0.1" in found

    # The old versions of its key end. First they may come back, and then not.
    maintenance = {
        **config,
        "AIRFLOW_CONN_VAULT_XCOM": site.connection("maintenance"),
        "SECURE_XCOM_DB": upkeep.table.url,
    }
    site.step("vault write -f transit/keys/xcom-finance/rotate")
    version = oldest_of(site.step("secure-xcom rewrap --apply", maintenance))
    assert version == "5"
    assert site.decrypt(stolen) == 200
    site.step("vault write transit/keys/xcom-finance/config", {"VERSION": version})
    assert site.decrypt(stolen) == 400
    forget_clients()
    assert upkeep.pull(at) == {"n": 1}, "what was rewrapped opens"
    rewrapped = upkeep.table.value(at)
    upkeep.table.put(at, stolen)
    with pytest.raises(KeyVersionUnknown):
        upkeep.pull(at)
    upkeep.table.put(at, rewrapped)
    lower = "vault write transit/keys/xcom-finance/config min_decryption_version=1"
    site.run(lower)
    assert site.decrypt(stolen) == 200
    site.step("vault write transit/keys/xcom-finance/config", {"VERSION": version})
    site.step("vault write transit/keys/xcom-finance/trim", {"VERSION": version})
    site.run(lower, code=2)
    assert site.decrypt(stolen) == 400
    forget_clients()
    assert upkeep.pull(at) == {"n": 1}
    assert upkeep.pull(upkeep.push({"n": 2})) == {"n": 2}, "pushes go on"

    # The database was stolen. This ends with 1 where something is left to rewrap.
    assert "0 that need a change" in site.step("secure-xcom rewrap\n", maintenance)
    upkeep.close()


def test_revoking_a_right_or_an_identity(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A right ends with `policy apply`; an identity only with the commands of revoke.md."""
    upkeep = deployment(site, KEY, IDENTITIES)
    policy = upkeep.policy_file
    apply = f"secure-xcom policy apply {policy} --to vault || test $? -eq 1"
    (delete,) = blocks(REVOKE, "sh")
    site.run(apply)
    monkeypatch.setenv("AIRFLOW_CONN_VAULT_XCOM", site.connection("finance-workers"))
    forget_clients()
    reference = upkeep.table.value(upkeep.push({"n": 1}))
    role_id = site.run("vault read -field=role_id auth/approle/role/finance-workers/role-id").strip()
    secret_id = site.run("vault write -f -field=secret_id auth/approle/role/finance-workers/secret-id").strip()
    _, token = site.login(role_id, secret_id)
    assert site.decrypt(reference, token) == 200

    complete = policy.read_text()
    policy.write_text(complete.replace("workers_of: [finance]", "grants: [{compartment: finance, as: writer}]"))
    site.run(apply)
    assert site.decrypt(reference, token) == 403, "the right ends for a token already issued"

    policy.write_text(complete)
    site.run(apply)
    assert site.decrypt(reference, token) == 200
    gone = "  - name: finance-workers\n    workers_of: [finance]\n    vault: {auth: approle}\n"
    policy.write_text(complete.replace(gone, ""))
    site.run(apply)
    assert site.decrypt(reference, token) == 200, "`policy apply` deletes no identity"
    site.run(delete)
    assert site.decrypt(reference, token) == 403
    assert site.login(role_id, secret_id)[0] == 400
    upkeep.close()


def earlier(log: Path, by: timedelta) -> None:
    """Write Vault's log again beside it, as if all of it had been earlier."""
    lines = []
    for line in log.read_text().splitlines():
        record = json.loads(line)
        # Nanoseconds, which Python does not read.
        record["time"] = (datetime.fromisoformat(f"{record['time'][:19]}+00:00") - by).isoformat()
        lines.append(json.dumps(record) + "\n")
    log.with_name(f"{log.name}.earlier").write_text("".join(lines))


def test_a_jwt_login_ends(site: Site) -> None:
    """Without its role a JWT logs nobody in, and the tokens that were made with it are gone."""
    assert site.server
    issuer = ec.generate_private_key(ec.SECP256R1())
    public = issuer.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    site.server.do("POST", "sys/auth/jwt", {"type": "jwt"})
    site.server.do("POST", "auth/jwt/config", {"jwt_validation_pubkeys": [public.decode()]})
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"]}
    site.server.do("POST", "auth/jwt/role/finance-workers", role)
    now = datetime.now(timezone.utc)
    claims = {"sub": "worker", "aud": "vault", "iat": now, "exp": now + timedelta(minutes=5)}
    body = {"role": "finance-workers", "jwt": jwt.encode(claims, issuer, algorithm="ES256")}
    token = site.server.do("POST", "auth/jwt/login", body)["auth"]["client_token"]
    assert site.server.api("GET", "auth/token/lookup-self", token=token).status_code == 200
    site.step("vault delete", {"MOUNT": "jwt"})
    assert site.server.api("GET", "auth/token/lookup-self", token=token).status_code == 403
    assert site.server.api("POST", "auth/jwt/login", body).status_code == 400


def test_an_older_session_of_a_role_is_denied_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """IAM takes the policy, which denies every action to sessions from before, and to no later one."""
    aws_connections.clean_environment(monkeypatch, tmp_path)
    site = Site(tmp_path)
    with kms_endpoint() as endpoint:
        access = {"access_key_id": aws_connections.ACCESS_KEY, "secret_access_key": aws_connections.SECRET_KEY}
        iam = boto3.client(
            "iam", endpoint_url=endpoint, region_name="eu-west-1", **{f"aws_{k}": v for k, v in access.items()}
        )
        iam.create_role(RoleName="finance-workers", AssumeRolePolicyDocument="{}")
        variables = {f"AWS_{name.upper()}": value for name, value in access.items()}
        variables |= {"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": aws_connections.REGION}
        site.step("aws iam put-role-policy", {**variables, **AWS_PATH})
        kept = iam.get_role_policy(RoleName="finance-workers", PolicyName="end-older-sessions")["PolicyDocument"]
    now = datetime.now(timezone.utc)
    for begun, effect in ((now - timedelta(minutes=5), "deny"), (now + timedelta(minutes=5), "none")):
        request = iam_evaluator.Request(
            f"arn:aws:iam::{ACCOUNT}:role/finance-workers",
            "kms:Decrypt",
            f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1",
            {"aws:TokenIssueTime": begun.strftime("%Y-%m-%dT%H:%M:%SZ")},
        )
        assert iam_evaluator.evaluate(kept, request) == effect


def test_a_kms_key_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was rewrapped opens with the new key alone, and KMS refuses the wraps of the old one."""
    aws_connections.clean_environment(monkeypatch, tmp_path)
    site = Site(tmp_path)
    (new, old) = (uri.removeprefix("- ") for uri in re.findall(r"- aws-kms://\S+", PAGE.read_text()))
    name = old.removesuffix("?wrap=never")
    with KmsDouble() as kms:
        kms.alias("xcom-finance", kms.create_key())
        conn_id = aws_connections.connect(monkeypatch, kms.endpoint)
        monkeypatch.setenv("AIRFLOW_CONN_AWS_XCOM", os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"])
        upkeep = deployment(site, name)
        at = upkeep.push({"n": 1})
        stolen = upkeep.table.value(at)
        # KMS's own rotation ends nothing.
        kms.rotate(kms.keys[kms.aliases[f"arn:aws:kms:eu-west-1:{ACCOUNT}:alias/xcom-finance"]])
        assert upkeep.pull(at) == {"n": 1}

        kms.alias("xcom-finance-2", kms.create_key())
        text = upkeep.policy_file.read_text()
        upkeep.policy_file.write_text(text.replace(f"[{name}]", f"['{new}', '{old}']"))
        maintenance = {
            "AIRFLOW_CONFIG": f"{site.folder}/airflow.cfg",
            "AIRFLOW_CONN_AWS_XCOM": os.environ["AIRFLOW_CONN_AWS_XCOM"],
            "SECURE_XCOM_DB": upkeep.table.url,
        }
        site.step("secure-xcom rewrap --compartment", maintenance)
        assert kms.count["ReEncrypt"] == 1
        upkeep.policy_file.write_text(text.replace(f"[{name}]", f"['{new}']"))
        administrator = {
            "AWS_ACCESS_KEY_ID": aws_connections.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": aws_connections.SECRET_KEY,
            "AWS_DEFAULT_REGION": aws_connections.REGION,
            "AWS_ENDPOINT_URL": kms.endpoint,
            **AWS_PATH,
        }
        site.step("KEY_ID=", administrator)
        upkeep.policy = AccessPolicy.load(str(upkeep.policy_file))
        assert upkeep.pull(at) == {"n": 1}, "what was rewrapped opens"
        # A thief asks with settings of their own.
        upkeep.policy_file.write_text(text.replace(f"[{name}]", f"['{new}', '{old}']"))
        upkeep.policy = AccessPolicy.load(str(upkeep.policy_file))
        upkeep.table.put(at, stolen)
        with pytest.raises(KeyPendingDeletion):
            upkeep.pull(at)
        upkeep.close()


def test_stolen_signing_keys_and_tampered_logs(tmp_path: Path) -> None:
    """The log goes on under another key, checked against the witness of the first, and tampering is found."""
    site = Site(tmp_path)
    config, log = tmp_path / "airflow.cfg", tmp_path / "log.jsonl"
    for name in ("anchored", "elsewhere"):
        (tmp_path / name).mkdir()
    write(log, chain(1))
    anchored = f"audit_sinks = file://{log}\nsealed_log = file://{site.folder}/anchored\n"
    config.write_text(f"[secure_xcom]\n{anchored}sealing_key = file://{site.folder}/sealing-1.pem\n")
    first = {"AIRFLOW_CONFIG": str(config)}
    old = site.run('secure-xcom audit key --create --key "file://$PWD/sealing-1.pem" --json', first)
    site.run("secure-xcom audit anchor --checkpoint elsewhere/checkpoint", first)
    site.step("secure-xcom audit verify --trusted", first)
    site.step("secure-xcom audit key --create", first)
    new = site.run('secure-xcom audit key --key "file://$PWD/sealing-2.pem" --json', first)
    verifiers = ",".join(json.loads(text)["verifier"] for text in (old, new))
    (site.folder / "airflow-2.cfg").write_text(
        f"[secure_xcom]\n{anchored}sealing_key = file://{site.folder}/sealing-2.pem\n"
        f"sealed_log_verifiers = {verifiers}\n"
    )
    write(log, [*chain(1), *chain(2)])
    site.step("secure-xcom audit anchor --config airflow-2.cfg")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0].replace(b'"outcome":"ok"', b'"outcome":"no"', 1), *lines[1:]]))
    found = site.step(
        "secure-xcom audit verify --config airflow-2.cfg --trusted elsewhere/checkpoint --json", code=1
    )
    assert '"edited"' in found


def test_no_step_is_left_out() -> None:
    """The page has the steps that the tests above run, and no other."""
    named = re.findall(r'site\.step\(\s*"([^"]+)"', Path(__file__).read_text())
    run = {name.replace("\\n", "\n") for name in named}
    assert [block for block in STEPS if sum(block.startswith(step) for step in run) != 1] == []
    assert len(run) == len(STEPS)

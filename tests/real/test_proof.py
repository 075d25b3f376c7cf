"""The proof: hostile code in the worker of compartment sales tries to open what compartment finance pushed.

Two compartments, a shared reader, a maintenance identity; policies made by `secure-xcom policy apply` in a real
Vault (and OpenBao) and in SeaweedFS's IAM. Each worker is a process of its own with exactly the environment that
Airflow gives a task of it: settings, the connections of its own identity, the ids of the task (tests/proof).
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.core.coordinate import encryption_context
from secure_xcom.core.reference import Reference, parse
from secure_xcom.core.seal import unseal
from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.keys.vault_context import transit_context
from tests.proof import matrix
from tests.support.servers.aws_connections import clean_environment
from tests.support.servers.s3_server import ACCOUNT, Identity, S3Server, s3_server
from tests.support.servers.vault_realm import Realm, flavours
from tests.support.servers.vault_realm import clean_environment as no_vault

REPOSITORY = Path(__file__).parents[2]
TEXT = """
version: 1
compartments:
  - name: finance
    dags: ["fin_*"]
    key_uris: ["vault://vault_xcom/{transit}/keys/{tag}-fin?grant=scoped"]
    store_uri: s3://s3_xcom@{bucket}/xcom
    routes: [{{keys: ["secret_*"], store_uri: "vault-kv://vault_xcom/{kv}/data/xcom"}}]
    readers: [{{compartment: sales, of_dags: [fin_daily], of_tasks: [publish]}}]
  - name: sales
    dags: ["sales_*"]
    key_uris: ["vault://vault_xcom/{transit}/keys/{tag}-sal"]
    store_uri: s3://s3_xcom@{bucket}/xcom
identities:
  - name: finance-worker
    workers_of: [finance]
    vault: {{auth: approle, mount: {tag}}}
    aws: {{principal: "arn:aws:iam::{account}:user/{tag}-fin"}}
  - name: sales-worker
    workers_of: [sales]
    vault: {{auth: approle, mount: {tag}}}
    aws: {{principal: "arn:aws:iam::{account}:user/{tag}-sal"}}
  - name: caretaker
    grants: [{{compartment: finance, as: maintenance}}, {{compartment: sales, as: maintenance}}]
    vault: {{auth: approle, mount: {tag}}}
    aws: {{principal: "arn:aws:iam::{account}:user/{tag}-care"}}
"""
USERS = {"finance-worker": "fin", "sales-worker": "sal", "caretaker": "care"}
# What finance pushes: the first is the shared reader's to pull, the others nobody's but finance's.
XCOMS = (
    ("fin_daily", "publish", "return_value"),
    ("fin_daily", "draft", "return_value"),
    ("fin_other", "publish", "return_value"),
    ("fin_other", "publish", "secret_token"),
)
STOLEN = slice(1, None)


@dataclass
class Site:
    """What was made, and what finance pushed."""

    realm: Realm
    server: S3Server
    tag: str
    bucket: str
    file: Path
    home: Path
    users: dict[str, Identity] = field(default_factory=dict)
    approles: dict[str, tuple[str, str]] = field(default_factory=dict)
    canaries: list[str] = field(default_factory=lambda: [f"canary-{secrets.token_hex(16)}" for _ in XCOMS])
    rows: list[Any] = field(default_factory=list)

    def connections(self, identity: str) -> dict[str, str]:
        """Airflow's connections of a worker, in its environment: the same ids for all, another identity each."""
        parts = urlsplit(self.realm.server.address)
        role_id, secret_id = self.approles[identity]
        user = self.users[identity]
        vault = {
            "conn_type": "vault",
            "host": parts.hostname,
            "port": parts.port,
            "login": role_id,
            "password": secret_id,
            "extra": {"auth_type": "approle", "auth_mount_point": self.tag, "use_tls": False},
        }
        s3 = {
            "conn_type": "aws",
            "login": user.access_key,
            "password": user.secret_key,
            "extra": {"endpoint_url": self.server.endpoint, "region_name": "us-east-1"},
        }
        return {"AIRFLOW_CONN_VAULT_XCOM": json.dumps(vault), "AIRFLOW_CONN_S3_XCOM": json.dumps(s3)}

    def worker(self, identity: str, action: str, job: dict[str, Any], dag: str, task: str = "t") -> Any:
        """Run a process of a worker: its environment holds nothing of any other identity."""
        home = self.home / identity
        home.mkdir(exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "AIRFLOW_HOME": str(home),
            "PYTHONPATH": str(REPOSITORY),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__XCOM_BACKEND": "secure_xcom.SecureXComBackend",
            "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(self.file),
            "AIRFLOW__SECURE_XCOM__AUDIT_SINKS": f"file://{home}/access-log.jsonl",
            **self.connections(identity),
            "AIRFLOW_CTX_DAG_ID": dag,
            "AIRFLOW_CTX_DAG_RUN_ID": "run",
            "AIRFLOW_CTX_TASK_ID": task,
            "AIRFLOW_CTX_TRY_NUMBER": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.proof.worker", action],
            input=json.dumps(job),
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    def apply(self, *more: str) -> dict[str, Any]:
        """`secure-xcom policy apply`, as an operator."""
        call = ["policy", "apply", str(self.file), "--to", "vault", "--to", "iam", "--json", *more]
        result = CliRunner().invoke(app, call)
        assert result.exit_code == 0, result.output
        record: dict[str, Any] = json.loads(result.stdout)
        return record

    def verify(self, patch: pytest.MonkeyPatch, *more: str) -> tuple[int, Any]:
        """`secure-xcom policy verify`, with each identity's credentials in the environment and in profiles."""
        profiles = []
        for identity, user in self.users.items():
            role_id, secret_id = self.approles[identity]
            login = {"role_id": role_id, "secret_id": secret_id}
            auth = self.realm.server.do("POST", f"auth/{self.tag}/login", login)["auth"]
            name = f"SECURE_XCOM_VERIFY_{identity.upper().replace('-', '_')}"
            patch.setenv(name, auth["client_token"])
            patch.setenv(f"{name}_AWS", identity)
            profiles.append(
                f"[{identity}]\naws_access_key_id = {user.access_key}\naws_secret_access_key = {user.secret_key}\n"
            )
        file = self.home / "profiles"
        file.write_text("\n".join(profiles))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        call = ["policy", "verify", str(self.file), *(more or ("--json",))]
        result = CliRunner().invoke(app, call)
        return result.exit_code, result.stdout if more else json.loads(result.stdout or result.stderr)

    def reference(self, number: int) -> Reference:
        """A row that finance pushed."""
        return parse(self.rows[number])

    def context(self, number: int) -> str:
        """Its encryption context as transit takes it: made of ids that everyone may know."""
        coordinate = self.reference(number).head.coordinate
        return base64.b64encode(transit_context(encryption_context("finance", coordinate))).decode()

    def data_key(self, number: int) -> bytes:
        """Its data key, as an operator with every right unwraps it."""
        body = {"ciphertext": self.reference(number).keys[0].wrapped, "context": self.context(number)}
        path = f"{self.realm.transit}/decrypt/{self.tag}-fin"
        return base64.b64decode(self.realm.server.do("POST", path, body)["data"]["plaintext"])

    def key(self, number: int) -> str:
        """Its object's key in the bucket."""
        return str(self.reference(number).head.object).removeprefix(f"s3://{self.bucket}/")

    def payload(self, number: int) -> bytes:
        """Its sealed payload, as the bucket's owner reads it."""
        body = self.server.client().get_object(Bucket=self.bucket, Key=self.key(number))["Body"]
        payload: bytes = body.read()
        return payload


@pytest.fixture(scope="module")
def site(realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Users without any right, then `policy apply`, then what finance pushes."""
    if urlsplit(realm.server.address).scheme != "http" or realm.server.namespace:
        pytest.skip("the worker's connections are for a server of the tests' own")
    folder = tmp_path_factory.mktemp("proof")
    with s3_server(role=False) as server, pytest.MonkeyPatch.context() as patch:
        if not server.own:
            pytest.skip("identities are made only on a server that the tests started")
        tag, bucket = f"sxt{secrets.token_hex(4)}", server.make_bucket()
        server.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        names = {"transit": realm.transit, "kv": realm.kv, "bucket": bucket, "tag": tag, "account": ACCOUNT}
        file = folder / "access_policy.yaml"
        file.write_text(TEXT.format(**names))
        found = Site(realm, server, tag, bucket, file, folder)
        for identity, user in USERS.items():
            iam = server.client(service="iam")
            iam.create_user(UserName=f"{tag}-{user}")
            key = iam.create_access_key(UserName=f"{tag}-{user}")["AccessKey"]
            found.users[identity] = Identity(key["AccessKeyId"], key["SecretAccessKey"])
        no_vault(patch)
        clean_environment(patch, folder)
        for name, value in (
            ("VAULT_ADDR", realm.server.address),
            ("VAULT_TOKEN", realm.server.token),
            ("AWS_ENDPOINT_URL", server.endpoint),
            ("AWS_ACCESS_KEY_ID", server.root.access_key),
            ("AWS_SECRET_ACCESS_KEY", server.root.secret_key),
            ("AWS_REGION", "us-east-1"),
        ):
            patch.setenv(name, value)
        # SeaweedFS takes no bucket policy with these conditions: its IAM is the bucket's wall here.
        for states in ({"make", "there"}, {"there"}):
            result = CliRunner().invoke(
                app, ["policy", "apply", str(file), "--to", "vault", "--to", "iam", "--json"]
            )
            assert result.exit_code == 0, result.output
            assert {step["state"] for step in json.loads(result.stdout)["steps"]} <= states
        for identity in USERS:
            role = f"auth/{tag}/role/{identity}"
            role_id = realm.server.do("GET", f"{role}/role-id")["data"]["role_id"]
            found.approles[identity] = (
                role_id,
                realm.server.do("POST", f"{role}/secret-id", {})["data"]["secret_id"],
            )
        job = {
            "xcoms": [
                {
                    "value": {"password": canary},
                    "at": {"dag_id": dag, "run_id": "run", "task_id": task, "map_index": -1, "key": key},
                }
                for (dag, task, key), canary in zip(XCOMS, found.canaries, strict=True)
            ]
        }
        found.rows = found.worker("finance-worker", "push", job, "fin_daily", "publish")
        yield found
        realm.server.api("DELETE", f"sys/auth/{tag}")
        for identity in USERS:
            realm.server.api("DELETE", f"sys/policies/acl/secure-xcom-{identity}")


@pytest.fixture(scope="module")
def job(site: Site) -> dict[str, Any]:
    """What the attacker has besides its own environment: the stolen rows, sealed payloads, names of everything."""
    versions = site.server.client().list_object_versions(Bucket=site.bucket)["Versions"]
    by_key = {one["Key"]: one["VersionId"] for one in versions}
    own = {"dag_id": "sales_a", "run_id": "run", "task_id": "t", "map_index": -1, "key": "return_value"}
    site.worker("sales-worker", "push", {"xcoms": [{"value": "own", "at": own}]}, "sales_a")
    places = [str(site.reference(number).head.object) for number in range(len(XCOMS))]
    return {
        "rows": site.rows[STOLEN],
        "all_rows": site.rows,
        "wraps": [
            {"wrapped": site.reference(number).keys[0].wrapped, "context": site.context(number)}
            for number in range(len(XCOMS))[STOLEN]
        ],
        # Of the XCom that it may pull.
        "mine": site.context(0),
        "mount": site.realm.transit,
        "key": f"{site.tag}-fin",
        "own_key": f"{site.tag}-sal",
        "kv_mount": site.realm.kv,
        "kv_path": places[3].partition("/data/")[2],
        "roles": {"mine": "sales-worker", "theirs": "finance-worker"},
        "policies": {"mine": "secure-xcom-sales-worker", "theirs": "secure-xcom-finance-worker"},
        "bucket": site.bucket,
        # Of fin_daily.draft its worker may fetch the sealed payload: buckets know no tasks. Vault keeps it shut.
        "objects": [{"key": site.key(2), "version": by_key.get(site.key(2))}],
        "own_prefix": "xcom/sales/sales_a/run/t/-1/",
        "users": {"mine": f"{site.tag}-sal", "theirs": f"{site.tag}-fin"},
        "payloads": [base64.b64encode(site.payload(number)).decode() for number in (1, 2)],
    }


@pytest.fixture(scope="module")
def attack(site: Site, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Every route of the hostile process."""
    rows: list[dict[str, Any]] = site.worker("sales-worker", "attack", job, "sales_a")
    return rows


def test_the_legitimate_reader_pulls_what_it_may(site: Site) -> None:
    """The same worker, by our code as it is, gets the XCom that it is a reader of and is refused the others."""
    found = site.worker("sales-worker", "pull", {"rows": site.rows}, "sales_a")
    assert found[0] == {"value": {"password": site.canaries[0]}}
    assert [one["error"] for one in found[1:]] == ["AccessRefused"] * 3
    own = site.worker("finance-worker", "pull", {"rows": site.rows}, "fin_daily")
    assert [one["value"]["password"] for one in own] == site.canaries


def test_no_route_gives_anything_away(site: Site, attack: list[dict[str, Any]]) -> None:
    """No answer of any server holds a value, a data key or a byte of a payload that the process was not given."""
    kept = [canary.encode() for canary in site.canaries[STOLEN]]
    for number in (1, 2, 3):
        key = site.data_key(number)
        kept += [key, base64.b64encode(key), key.hex().encode()]
    sealed = site.payload(2)
    for row in attack:
        body = base64.b64decode(row["body"]) if isinstance(row["status"], int) and row["wall"] == "bucket" else b""
        text = row["body"].encode() + body
        assert not any(one in text for one in kept), row["route"]
        assert sealed[:24] not in text, row["route"]
        assert repr(sealed[:24])[2:-1].encode() not in text, row["route"]


# What Vault does not come to judge, since it is no request that it reads; or its engine finds nothing in it.
NOT_READ = re.compile(
    r"duplicate key|after top-level value|missing 'context' for key derivation|message authentication failed"
    r"|error parsing JSON|path ending in '/'|relative paths not supported|invalid role or secret ID"
    r"|invalid secret id|Invalid URL|failed to (?:parse|decode) JSON input"
)
DENIED = ("Forbidden", "KeyServiceDenied", "StoreDenied", 403)


def test_vault_denies_each_route(attack: list[dict[str, Any]]) -> None:
    """With the sealed payloads at hand, the process gets no data key: Vault denies, or cannot even read it."""
    rows = [row for row in attack if row["wall"] == "vault"]
    others = [row for row in rows if row["status"] not in DENIED]
    odd = [
        (row["route"], row["status"], row["body"])
        for row in others
        if row["status"] not in (400, 500) or not (NOT_READ.search(row["body"]) or "%00" in row["route"])
    ]
    assert odd == []
    print(f"Vault: {len(rows)} routes, {len(rows) - len(others)} denied, {len(others)} not taken")
    assert len(rows) - len(others) > 400


def test_the_bucket_denies_each_route(attack: list[dict[str, Any]]) -> None:
    """With the data key at hand, the process would still need the sealed payload, and the bucket denies it.

    By prefix a reader of one task of a DAG may fetch what its other tasks pushed (service-policies.md): row 0.
    Vault alone keeps that shut, and denies it above.
    """
    rows = [row for row in attack if row["wall"] == "bucket"]
    for row in rows:
        if row["route"] == "our code: get of row 0":
            assert row["status"] == "opened"
        elif row["status"] not in DENIED:
            # Paths with dots are refused as such; two operations are not there.
            assert row["status"] in (400, 405), (row["route"], row["status"])
            assert re.match(
                r"up and down|encoded up|get by (a dot|beside|encoded)|select|restore", row["route"]
            ), row
    denied = [row for row in rows if row["status"] in DENIED]
    print(f"bucket: {len(rows)} routes, {len(denied)} denied")
    assert len(denied) > 60


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_task_of_a_scheduler_comes_no_further(
    site: Site, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same in a task that a real scheduler runs: it pulls what it may, and each wall denies it the rest."""
    if site.realm.server.flavour != flavours()[0]:
        # One run is enough: what differs between the servers is tried above.
        assert site.realm.server.flavour in flavours()
        return
    for name in list(os.environ):
        if name.startswith(("VAULT_", "AWS_")):
            # The operator's, who applied the policies from this process.
            monkeypatch.delenv(name)
    (tmp_path / "job.json").write_text(json.dumps(job))
    answer = tmp_path / "answer.json"
    with LocalAirflow(
        tmp_path / "airflow",
        {
            "core.xcom_backend": "secure_xcom.SecureXComBackend",
            "secure_xcom.access_policy": str(site.file),
            "secure_xcom.audit_sinks": f"file://{tmp_path}/access-log.jsonl",
        },
        REPOSITORY / "tests" / "proof" / "dags",
        environment={
            **site.connections("sales-worker"),
            "PYTHONPATH": str(REPOSITORY),
            "AWS_EC2_METADATA_DISABLED": "true",
            "SECURE_XCOM_PROOF_JOB": str(tmp_path / "job.json"),
            "SECURE_XCOM_PROOF_ANSWER": str(answer),
        },
    ) as airflow:
        airflow.migrate()
        airflow.start()
        assert airflow.wait("sales_hostile", airflow.trigger("sales_hostile")) == "success"
    found = json.loads(answer.read_text())
    assert found["pulled"][0] == {"value": {"password": site.canaries[0]}}
    assert [one["error"] for one in found["pulled"][1:]] == ["AccessRefused"] * 3
    test_no_route_gives_anything_away(site, found["attack"])
    test_vault_denies_each_route(found["attack"])
    test_the_bucket_denies_each_route(found["attack"])


def test_a_pull_with_every_check_patched_out_is_denied_by_a_server(attack: list[dict[str, Any]]) -> None:
    """Our own code without its decisions comes as far as the servers, and no further."""
    pulls = [row["status"] for row in attack if row["wall"] == "vault and bucket"]
    assert len(pulls) == 3
    assert set(pulls) <= {"KeyServiceDenied", "StoreDenied"}


@pytest.mark.parametrize("number", [1, 2])
def test_with_what_both_walls_keep_it_would_open(site: Site, number: int) -> None:
    """Data key and sealed payload together open it, so each of the two denials is all that stands."""
    reference = site.reference(number)
    opened = b"".join(
        unseal(
            site.data_key(number),
            reference.head.canonical(),
            [site.payload(number)],
            header=reference.header,
            size=reference.size,
        )
    )
    # A value that gains from it is compressed, and this one is too short for that.
    assert site.canaries[number].encode() in opened


def test_nothing_was_changed_by_it(site: Site, attack: list[dict[str, Any]]) -> None:
    """Afterwards finance pulls all it pushed, and every policy is as it was applied."""
    found = site.worker("finance-worker", "pull", {"rows": site.rows}, "fin_daily")
    assert [one["value"]["password"] for one in found] == site.canaries
    result = site.apply("--dry-run")
    assert {step["state"] for step in result["steps"]} == {"there"}


def test_the_whole_matrix_is_as_the_file_says(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """`policy verify` finds nothing unexpected but what SeaweedFS cannot hold, and leaves nothing behind."""

    def there() -> list[Any]:
        listed = site.server.client().list_objects_v2(Bucket=site.bucket)["Contents"]
        uploads = site.server.client().list_multipart_uploads(Bucket=site.bucket).get("Uploads", [])
        keys = site.realm.server.do("LIST", f"{site.realm.transit}/keys")["data"]["keys"]
        stored = site.realm.server.do("LIST", f"{site.realm.kv}/metadata/xcom")["data"]["keys"]
        return [[one["Key"] for one in listed], uploads, keys, stored]

    before = there()
    code, record = site.verify(monkeypatch)
    odd = [row for row in record["matrix"] if row["surprise"]]
    # It does not know the condition key of create-only (service-policies.md), so its writers may overwrite.
    assert {(row["service"], row["action"], row["allowed"]) for row in odd} == {
        ("s3", "put without If-None-Match", True)
    }
    assert {(row["identity"], row["compartment"]) for row in odd} == {
        ("finance-worker", "finance"),
        ("sales-worker", "sales"),
    }
    assert (code, record["left_out"], record["notes"]) == (1, [], [])
    # In CI the operator names what this server cannot do; then anything else ends with 1.
    accepted, printed = site.verify(monkeypatch, "--json", "--allow", "put without If-None-Match")
    assert (accepted, sum(row["accepted"] for row in json.loads(printed)["matrix"])) == (0, len(odd))
    assert site.verify(monkeypatch, "--json", "--allow", "sales-worker/put without If-None-Match")[0] == 1
    code, printed = site.verify(monkeypatch, "--json", "--allow", "put without If-None-Mach")
    assert (code, "did you mean 'put without If-None-Match'?" in json.loads(printed)["remedy"]) == (2, True)
    code, record = site.verify(monkeypatch)
    assert len(record["matrix"]) > 400
    for identity in USERS:
        for service in ("vault", "s3"):
            rows = [row for row in record["matrix"] if (row["identity"], row["service"]) == (identity, service)]
            assert {row["allowed"] for row in rows} == {True, False}
    assert there() == before
    found = matrix.table(record["matrix"], tuple(USERS))
    if os.environ.get("SECURE_XCOM_WRITE_MATRIX"):
        matrix.write(found)
    assert matrix.of_the_page() == found, (
        "write it anew: SECURE_XCOM_WRITE_MATRIX=1 pytest tests/real/test_proof.py"
    )

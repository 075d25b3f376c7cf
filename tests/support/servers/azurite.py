"""A real blob server for tests: Azurite, Microsoft's own emulator of Azure Storage.

Looked for in this order: an endpoint given in the environment (`SECURE_XCOM_TEST_AZURE_ENDPOINT` with
`..._AZURE_ACCOUNT` and `..._AZURE_KEY`), `azurite-blob` on PATH, and then an install by npm into the user's cache.
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers.vault_server import free_port

VERSION = "3.37.0"
ACCOUNT = "testaccount"
START_SECONDS = 60


@dataclass(frozen=True)
class BlobServer:
    """An account at `endpoint` and its key."""

    endpoint: str
    account: str
    key: str = field(repr=False)

    def service(self) -> Any:
        """Azure's own client, which has no part in what is tested."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(self.endpoint, credential=self.key)

    def make_container(self) -> str:
        """A new container."""
        name = f"test-{uuid.uuid4().hex}"
        self.service().create_container(name)
        return name


@contextmanager
def azurite() -> Iterator[BlobServer]:
    """Find the server or start it; it ends with the context. Skips when there is none."""
    pytest.importorskip("azure.storage.blob", reason="install secure-xcom[azure]")
    given = os.environ.get("SECURE_XCOM_TEST_AZURE_ENDPOINT", "").rstrip("/")
    if given:
        account = os.environ["SECURE_XCOM_TEST_AZURE_ACCOUNT"]
        yield BlobServer(given, account, os.environ["SECURE_XCOM_TEST_AZURE_KEY"])
        return
    binary = shutil.which("azurite-blob") or _installed()
    with tempfile.TemporaryDirectory(prefix="secure-xcom-azurite-") as folder:
        yield from _started(binary, Path(folder))


def _installed() -> str:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no blob server: install azurite or npm, or set SECURE_XCOM_TEST_AZURE_ENDPOINT")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "secure-xcom-tests"
    folder = cache / f"azurite-{VERSION}"
    binary = folder / "node_modules" / ".bin" / "azurite-blob"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "azurite.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), f"azurite@{VERSION}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
            if done.returncode:
                pytest.skip(f"no blob server: npm could not install azurite: {done.stderr[-500:]}")
            (folder / "complete").touch()
    return str(binary)


def _started(binary: str, folder: Path) -> Iterator[BlobServer]:
    port = free_port()
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    server = BlobServer(f"http://127.0.0.1:{port}/{ACCOUNT}", ACCOUNT, key)
    flags = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence"]
    command = [binary, "--blobHost", "127.0.0.1", "--blobPort", str(port), *flags]
    with open(folder / "log", "wb") as log:
        environment = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"Azurite did not come up: {(folder / 'log').read_text(errors='replace')[-3000:]}")
                time.sleep(0.1)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True

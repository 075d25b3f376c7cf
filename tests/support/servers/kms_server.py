"""How a KMS is had for tests: an endpoint of the environment, else moto's server on loopback.

1. ``SECURE_XCOM_TEST_KMS_ENDPOINT``: any server that speaks KMS and STS, with throwaway keys;
2. ``moto_server`` beside the interpreter or on PATH (``moto[server]``, of the project's ``dev`` extra), on a free
   port and in a temporary folder;
3. otherwise the tests are skipped, or fail with CI=true (tests/conftest.py).

moto checks, at Decrypt, the ciphertext, the encryption context and the pinned KeyId. It does not check key states
(a disabled key goes on working), the SourceKeyId of ReEncrypt, dry runs, signatures, policies and grants; and it
cannot decrypt what it encrypted with a multi-Region key. For those there is `tests.support.servers.kms_double`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.servers.vault_server import free_port

ENDPOINT = "SECURE_XCOM_TEST_KMS_ENDPOINT"
_UP_WITHIN_SECONDS = 90.0


@contextmanager
def kms_endpoint() -> Iterator[str]:
    """The URL of a KMS that may be filled with throwaway keys."""
    if given := os.environ.get(ENDPOINT):
        yield given.rstrip("/")
        return
    beside = Path(sys.executable).with_name("moto_server")
    command = str(beside) if beside.exists() else shutil.which("moto_server")
    if command is None:
        pytest.skip(f"no KMS: set {ENDPOINT} or install moto[server]")
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        log = Path(folder, "moto.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [command, "-H", "127.0.0.1", "-p", str(port)], cwd=folder, stdout=output, stderr=output
            )
        try:
            _wait(process, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _UP_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"moto_server ended: {log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=2):  # noqa: S310  # on loopback
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"moto_server was not up in {_UP_WITHIN_SECONDS} s: {log.read_text()[-2000:]}")

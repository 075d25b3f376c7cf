"""Real Vault servers for tests: one that is found or started for a whole run, and others with a life of their own.

``SECURE_XCOM_TEST_VAULT_ADDR`` and ``SECURE_XCOM_TEST_VAULT_TOKEN`` (an operator's token) name a server that is
to be used instead of a started one: a company's Vault, an OpenBao. What is made there has a random name and is
removed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import requests

START_SECONDS = 30
# For an answer on a machine that does much else.
ANSWER_SECONDS = 120
ROOT_TOKEN = "operator-of-the-tests"
# OpenBao makes audit devices from its configuration only, unless it is told that the API may as well.
DEV_CONFIG = "unsafe_allow_api_audit_creation = true\n"


class Ending(Protocol):
    """What can be asked whether it has ended: a process, a container."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""


def free_port(beside: int = 1) -> int:
    """A port of 127.0.0.1 that nobody listens on at the moment, nor on the one that lies `beside` above it.

    Not one of those that systems give to connections (from 32,768 on): such a one may be taken again before the
    server has it.

    :param beside: where the server listens as well; Vault on the next port, SeaweedFS 10,000 above.
    """
    while True:
        port = 10_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, socket.socket() as other, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + beside))
            return port


@dataclass
class VaultServer:
    """A server that answers, and the way in for an operator."""

    address: str
    token: str = field(repr=False)
    flavour: str = "vault"
    ca: str | None = None
    cert: tuple[str, str] | None = None
    namespace: str = ""
    binary: Path | None = None

    def api(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str | None = None, **more: Any
    ) -> requests.Response:
        """One raw request, without anything of the package under test."""
        headers = {"X-Vault-Token": self.token if token is None else token, "X-Vault-Request": "true"}
        if self.namespace:
            headers["X-Vault-Namespace"] = self.namespace
        return requests.request(
            method,
            f"{self.address}/v1/{path}",
            json=body,
            headers=headers,
            verify=self.ca or True,
            cert=self.cert,
            timeout=ANSWER_SECONDS,
            **more,
        )

    def api_text(self, method: str, path: str, body: str, token: str) -> requests.Response:
        """As `api`, with a body that no JSON library would write."""
        headers = {"X-Vault-Token": token, "X-Vault-Request": "true"}
        if self.namespace:
            headers["X-Vault-Namespace"] = self.namespace
        return requests.request(
            method,
            f"{self.address}/v1/{path}",
            data=body,
            headers=headers,
            verify=self.ca or True,
            timeout=ANSWER_SECONDS,
        )

    def do(self, method: str, path: str, body: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """As `api`, for an operator's work that must succeed."""
        answer = self.api(method, path, body, **more)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        result: dict[str, Any] = answer.json() if answer.content else {}
        return result

    def new_token(self, *policies: str, **more: Any) -> str:
        """A token with policies and nothing else."""
        body = {"policies": list(policies), "ttl": "10m", **more}
        token: str = self.do("POST", "auth/token/create", body)["auth"]["client_token"]
        return token

    def new_policy(self, text: str) -> str:
        """A policy of a random name."""
        name = f"sxt-{secrets.token_hex(4)}"
        self.do("PUT", f"sys/policies/acl/{name}", {"policy": text})
        return name


@dataclass
class OwnServer(VaultServer):
    """A server with a configuration, storage and life of its own. It can be sealed, stopped and started again."""

    folder: Path = Path()
    unseal_key: str = field(default="", repr=False)
    shares: list[str] = field(default_factory=list, repr=False)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binary), "server", f"-config={self.folder / 'server.hcl'}"],
                stdout=log,
                stderr=log,
                env=_environment(self.folder),
            )
        wait_until_up(self, self.process)

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            end(self.process)
            self.process = None

    def kill(self) -> None:
        """End the process as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def initialize(self, shares: int = 1, threshold: int = 1) -> None:
        """Make its keys and unseal it.

        :param threshold: how many of the shares unseal it.
        """
        body = {"secret_shares": shares, "secret_threshold": threshold}
        made = self.do("PUT", "sys/init", body, token="")
        self.shares, self.token = made["keys_base64"][:threshold], made["root_token"]
        self.unseal_key = self.shares[0]
        self.unseal()

    def seal(self) -> None:
        """As `vault operator seal` does."""
        self.do("PUT", "sys/seal")

    def unseal(self) -> None:
        """Unseal it, share by share, and wait until it is active."""
        for share in self.shares or [self.unseal_key]:
            self.do("PUT", "sys/unseal", {"key": share}, token="")
        deadline = time.monotonic() + START_SECONDS
        while self.api("GET", "sys/health").status_code != 200:
            assert time.monotonic() < deadline, "not active in time"
            time.sleep(0.05)


@contextlib.contextmanager
def dev_server(binary: Path, folder: Path, flavour: str, config: str = DEV_CONFIG) -> Iterator[VaultServer]:
    """A server in memory, unsealed, ended at the end.

    :param config: the configuration of an OpenBao.
    """
    port = free_port()
    (folder / "dev.hcl").write_text(config)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [
                str(binary),
                "server",
                *dev_flags(f"127.0.0.1:{port}"),
                *([f"-config={folder / 'dev.hcl'}"] if flavour == "openbao" else []),
            ],
            stdout=log,
            stderr=log,
            env=_environment(folder),
        )
    server = VaultServer(f"http://127.0.0.1:{port}", ROOT_TOKEN, flavour, binary=binary)
    try:
        wait_until_up(server, process)
        yield server
    finally:
        end(process)


def dev_flags(address: str) -> list[str]:
    """What makes a server one in memory, unsealed, with the token of the tests."""
    return [
        "-dev",
        "-dev-no-store-token",
        f"-dev-root-token-id={ROOT_TOKEN}",
        f"-dev-listen-address={address}",
    ]


def wait_until_up(server: VaultServer, process: Ending) -> None:
    """Wait until the server answers, sealed or not."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(requests.exceptions.ConnectionError):
            if server.api("GET", "sys/seal-status").status_code in (200, 400, 501, 503):
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{server.flavour} did not come up, exit code {process.poll()}")
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here, gently first."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of the caller's own Vault settings, and no place to leave a token but the folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VAULT_", "BAO_"))}
    return {**kept, "HOME": str(folder), "SKIP_CHOWN": "true", "SKIP_SETCAP": "true"}

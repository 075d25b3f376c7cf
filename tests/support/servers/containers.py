"""Servers out of images, through testcontainers, where a Docker engine of this machine answers.

The images are the official ones, which are pulled where they are not there yet; ``SECURE_XCOM_TEST_VAULT_IMAGE``,
``..._OPENBAO_IMAGE``, ``..._S3_IMAGE`` and ``..._POSTGRES_IMAGE`` name others. A container comes after programs
that are at hand and before one that must be built. ``SECURE_XCOM_TEST_CONTAINERS=always`` puts it before both, and
``never`` leaves it out. Ports are published on 127.0.0.1 alone, and each container is ended by its own id.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.support.servers.vault_server import free_port

# The releases of deploy/compose/images.env, and the Vault that tests/support/servers/vault/go.mod names.
IMAGES = {
    "vault": "hashicorp/vault:1.21.1",
    "openbao": "openbao/openbao:2.7.0",
    "s3": "chrislusf/seaweedfs:4.48",
    "postgres": "postgres:17.10-alpine3.24",
}
ANSWER_SECONDS = 10
PULL_SECONDS = 600
_ON_THIS_MACHINE = {"http+docker://localhost", "http+docker://localnpipe"}


def image_name(server: str) -> str:
    """The image of a server: one of the names of `IMAGES`."""
    return os.environ.get(f"SECURE_XCOM_TEST_{server.upper()}_IMAGE") or IMAGES[server]


def come_first() -> bool:
    """Whether the environment wants containers although there may be programs."""
    return os.environ.get("SECURE_XCOM_TEST_CONTAINERS") == "always"


def engine(timeout: float = ANSWER_SECONDS) -> Any | None:
    """A client of the Docker engine on this machine, None where none answers.

    An engine elsewhere does not count: what it publishes on its 127.0.0.1 is not reached from here.
    """
    try:
        from docker.errors import DockerException
        from requests.exceptions import RequestException
        from testcontainers.core.docker_client import DockerClient
    except ImportError:
        return None
    try:
        client = DockerClient(timeout=timeout).client
        client.ping()
    except (DockerException, RequestException):
        return None
    return client if client.api.base_url in _ON_THIS_MACHINE else None


def image_of(server: str) -> str | None:
    """The image of a server, which is there or was pulled. None without it or an engine, and with `never`."""
    if os.environ.get("SECURE_XCOM_TEST_CONTAINERS") == "never":
        return None
    client = engine(PULL_SECONDS)
    if client is None:
        return None
    from docker.errors import DockerException, ImageNotFound

    name = image_name(server)
    try:
        client.images.get(name)
    except ImageNotFound:
        try:
            client.images.pull(name)
        except DockerException:
            return None
    finally:
        client.close()
    return name


class Running:
    """A container that was started, and the ports of 127.0.0.1 that lead to its own."""

    def __init__(self, container: Any, ports: Mapping[int, int]) -> None:
        self.ports = ports
        self._container = container

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        self._container.reload()
        state = self._container.attrs["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def log(self) -> str:
        """The end of what it printed."""
        return str(self._container.logs(tail=60).decode(errors="replace"))

    def stop(self, signal: str = "SIGKILL", seconds: float = 30) -> None:
        """Send its first process a signal and wait until it has ended. What it wrote stays."""
        self._container.kill(signal)
        self._container.wait(timeout=seconds)

    def start(self) -> None:
        """Start it again, with the same ports and what it had written."""
        self._container.start()

    def wait_for(self, ready: Any, seconds: float) -> None:
        """Wait until ``ready()`` is true, which it may ask for as often as it likes."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the container did not come up: {self.log()}")
            time.sleep(0.1)


@contextmanager
def container(
    image: str,
    command: Sequence[str],
    ports: Sequence[int],
    *,
    files: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Start a container, and remove it with its volumes at the end.

    :param files: path in the container -> text, which everyone in it may read.
    """
    # The sidecar that clears up after a killed run needs the engine's socket in a container and one more image.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.container import DockerContainer

    published = {port: free_port() for port in ports}
    made = DockerContainer(image).with_command(list(command)).with_envs(**(environment or {}))
    # testcontainers' own method takes no address, and would publish the port to every network.
    addresses: Any = {f"{inner}/tcp": ("127.0.0.1", outer) for inner, outer in published.items()}
    made.ports = addresses
    for path, text in (files or {}).items():
        made.with_copy_into_container(text.encode(), path)
    with made:
        yield Running(made.get_wrapped_container(), published)

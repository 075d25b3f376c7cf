"""A Vault with TLS of a private CA, to be sealed, stopped and started again; one without TLS; two in a cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.servers.certificates import Pair, PrivateCa
from tests.support.servers.vault_server import START_SECONDS, OwnServer, free_port


@contextlib.contextmanager
def own_server(binary: Path, folder: Path, flavour: str) -> Iterator[tuple[OwnServer, OwnServer, PrivateCa, Pair]]:
    """The server at its listener with TLS, the same at that with mutual TLS, the CA, and a client's pair."""
    ca = PrivateCa(folder)
    pair, client = ca.issue("server", server=True), ca.issue("client", server=False)
    plain, mutual = free_port(), free_port()
    (folder / "data").mkdir()
    tls = f'tls_cert_file = "{pair.cert}"\n  tls_key_file = "{pair.key}"'
    (folder / "server.hcl").write_text(
        f"""
        storage "raft" {{
          path = "{folder}/data"
          node_id = "one"
          performance_multiplier = "1"
        }}
        listener "tcp" {{
          address = "127.0.0.1:{plain}"
          cluster_address = "127.0.0.1:{free_port()}"
          {tls}
        }}
        listener "tcp" {{
          address = "127.0.0.1:{mutual}"
          cluster_address = "127.0.0.1:{free_port()}"
          {tls}
          tls_require_and_verify_client_cert = true
          tls_client_ca_file = "{ca.cert}"
        }}
        api_addr = "https://127.0.0.1:{plain}"
        cluster_addr = "https://127.0.0.1:{free_port()}"
        telemetry {{
          prometheus_retention_time = "1h"
          disable_hostname = true
        }}
        {"disable_mlock = true" if flavour == "vault" else ""}
        ui = false
        """
    )
    server = OwnServer(f"https://127.0.0.1:{plain}", "", flavour, str(ca.cert), binary=binary, folder=folder)
    try:
        server.start()
        server.initialize()
        door = OwnServer(
            f"https://127.0.0.1:{mutual}", server.token, flavour, str(ca.cert), client.files, folder=folder
        )
        yield server, door, ca, client
    finally:
        server.stop()


@contextlib.contextmanager
def sealable(binary: Path, folder: Path, flavour: str) -> Iterator[OwnServer]:
    """One node with raft storage on loopback, two of three shares of whose key unseal it."""
    server = _node(binary, folder / "vault", flavour, None)
    try:
        server.start()
        server.initialize(3, 2)
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def cluster(binary: Path, folder: Path, flavour: str) -> Iterator[tuple[OwnServer, OwnServer]]:
    """Two nodes with raft storage on loopback: the active one, and a standby that has joined it."""
    active = _node(binary, folder / "active", flavour, None)
    standby = _node(binary, folder / "standby", flavour, active.address)
    try:
        active.start()
        active.initialize()
        standby.token, standby.unseal_key = active.token, active.unseal_key
        standby.start()
        deadline = time.monotonic() + START_SECONDS
        # It takes a key once it has joined, and says 429 as a standby.
        while standby.api("GET", "sys/health").status_code != 429:
            assert time.monotonic() < deadline, "did not join in time"
            standby.api("PUT", "sys/unseal", {"key": active.unseal_key}, token="")
            time.sleep(0.1)
        yield active, standby
    finally:
        standby.stop()
        active.stop()


def _node(binary: Path, folder: Path, flavour: str, leader: str | None) -> OwnServer:
    (folder / "data").mkdir(parents=True)
    port, peer = free_port(), free_port()
    (folder / "server.hcl").write_text(
        f"""
        storage "raft" {{
          path = "{folder}/data"
          node_id = "{folder.name}"
          performance_multiplier = "1"
          {f'retry_join {{ leader_api_addr = "{leader}" }}' if leader else ""}
        }}
        listener "tcp" {{
          address = "127.0.0.1:{port}"
          cluster_address = "127.0.0.1:{peer}"
          tls_disable = true
        }}
        api_addr = "http://127.0.0.1:{port}"
        cluster_addr = "https://127.0.0.1:{peer}"
        {"disable_mlock = true" if flavour == "vault" else "unsafe_allow_api_audit_creation = true"}
        ui = false
        """
    )
    return OwnServer(f"http://127.0.0.1:{port}", "", flavour, binary=binary, folder=folder)

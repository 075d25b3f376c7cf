"""A Vault with TLS of a private CA and raft storage, to be sealed, stopped and started again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.servers.certificates import Pair, PrivateCa
from tests.servers.vault_server import OwnServer, free_port


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
        {"disable_mlock = true" if flavour == "vault" else ""}
        ui = false
        """
    )
    server = OwnServer(f"https://127.0.0.1:{plain}", "", flavour, str(ca.cert), binary=binary, folder=folder)
    try:
        server.start()
        server.initialise()
        door = OwnServer(
            f"https://127.0.0.1:{mutual}", server.token, flavour, str(ca.cert), client.files, folder=folder
        )
        yield server, door, ca, client
    finally:
        server.stop()

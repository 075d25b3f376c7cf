"""What a store says when its endpoint speaks another protocol, is not trusted, or is not there."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from secure_xcom.core.store_errors import StoreUnavailable
from secure_xcom.stores import store
from tests.support.servers.certificates import PrivateCa


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing to say."""


class _GoServer(_Handler):
    """Answers as a TLS server written in Go answers plain HTTP."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"Client sent an HTTP request to an HTTPS server.\n"
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT  # noqa: N815  # http.server's name


@dataclass(frozen=True)
class Ports:
    """A server without TLS, one with it, and one that says that it has it."""

    plain: int
    tls: int
    go: int


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """Three servers for this file."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (_Handler, _Handler, _GoServer)]
    certificate, key = PrivateCa(tmp_path_factory.mktemp("ca")).issue("127.0.0.1", server=True).files
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    servers[1].socket = context.wrap_socket(servers[1].socket, server_side=True)
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield Ports(*(server.server_address[1] for server in servers))
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("size", [1, (8 << 20) + 1], ids=["small", "large"])
@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("https://127.0.0.1:{0.plain}", "uses plain HTTP, but TLS was tried.*correct the port, or write http://"),
        ("http://127.0.0.1:{0.tls}", "write https:// in the endpoint if it uses TLS"),
        ("http://127.0.0.1:{0.go}", "write https:// in the endpoint"),
        ("https://127.0.0.1:{0.tls}", "certificate is not trusted.*AWS_CA_BUNDLE"),
        ("https://127.0.0.1:1", "nothing listens at the endpoint"),
        ("https://nowhere.invalid", "host name cannot be resolved"),
    ],
)
def test_the_mistake_is_named_with_the_endpoint(
    endpoint: str, said: str, size: int, ports: Ports, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both clients of a bucket say the same of the same mistake, and which endpoint was asked."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    url = endpoint.format(ports)
    with pytest.raises(StoreUnavailable, match=f"(?s){said}") as caught:
        store(f"s3://bucket/x?endpoint={url}&retries=0").put("a/b", [b"x" * size])
    assert f"s3://bucket/x/a/b at {url}" in str(caught.value)

"""A proxy on loopback that misbehaves as told: it stands between a client and a real server.

Each request takes the next fault of the list that applies to it; without one it is passed on unchanged.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

_HOP_HEADERS = ("connection", "keep-alive", "transfer-encoding", "content-length")


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    :param kind: ``answer``: `status` and `body` without asking the server; ``drop``: the connection ends before
        the server is asked, after `seconds` in which nothing is heard; ``lose``: the server is asked and does it,
        and its answer is thrown away; ``cut``: the answer ends after `after` bytes of its body; ``wait``: the
        answer comes `seconds` late; ``drip``: the answer comes one byte at a time, each after `seconds`.
    :param method: only for requests of this method.
    :param path: only for requests whose path has this in it.
    :param holds: only for requests whose body or ``X-Amz-Target`` has this in it.
    """

    kind: Literal["answer", "drop", "lose", "cut", "wait", "drip"]
    method: str = ""
    status: int = 503
    body: bytes = b""
    after: int = 0
    path: str = ""
    holds: str = ""
    seconds: float = 0.0
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/xml"),)


@dataclass
class FaultyProxy:
    """The faults still to come, and the requests seen: ``METHOD path?query``."""

    endpoint: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    before_pass: Callable[[str], None] | None = None
    """Called with each request's method before it is passed on."""
    standing: Fault | None = None
    """What befalls every request that none of `faults` does."""

    @contextmanager
    def every(self, fault: Fault) -> Iterator[None]:
        """Have it befall every request for a while."""
        self.standing = fault
        try:
            yield
        finally:
            self.standing = None


@contextmanager
def faulty_proxy(target: str, address: str = "127.0.0.1") -> Iterator[FaultyProxy]:
    """A proxy in front of the server at `target` (``http://host:port``).

    :param address: where it listens.
    """
    proxy = FaultyProxy()
    lock = threading.Lock()
    host = urlsplit(target).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Requests are kept in `seen`."""

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                proxy.seen.append(f"{self.command} {self.path}")
                proxy.headers.append(dict(self.headers.items()))
                said = body.decode("latin-1") + self.headers.get("X-Amz-Target", "")
                fits = (
                    one
                    for one in proxy.faults
                    if one.method in ("", self.command) and one.path in self.path and one.holds in said
                )
                fault = next(fits, None)
                if fault:
                    proxy.faults.remove(fault)
                fault = fault or proxy.standing
            if fault and fault.kind == "drop":
                time.sleep(fault.seconds)
                self._end()
                return
            if fault and fault.kind == "answer":
                self._answer(fault.status, list(fault.headers), fault.body)
                return
            if proxy.before_pass:
                proxy.before_pass(self.command)
            try:
                status, headers, answer = self._pass_on(body)
            except OSError:
                # The server is away: so is this one, as far as a client can tell.
                self._end()
                return
            if fault and fault.kind == "lose":
                self._end()
                return
            if fault and fault.kind == "wait":
                time.sleep(fault.seconds)
            drip = fault.seconds if fault and fault.kind == "drip" else None
            self._answer(
                status, headers, answer, cut=fault.after if fault and fault.kind == "cut" else None, drip=drip
            )

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_LIST = _handle  # noqa: N815  # http.server's names

        def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection(host, timeout=60)
            # The Host header stays the proxy's, because it is part of the signature.
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "keep-alive", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
            headers = answer.getheaders()
            connection.close()
            return answer.status, headers, data

        def _answer(
            self,
            status: int,
            headers: list[tuple[str, str]],
            body: bytes,
            cut: int | None = None,
            drip: float | None = None,
        ) -> None:
            self.send_response_only(status)
            length = str(len(body))
            for name, value in headers:
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value
                elif name.lower() not in _HOP_HEADERS:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command == "HEAD":
                return
            with contextlib.suppress(OSError):
                # A client that has lost its patience is gone.
                for at in range(len(body) if drip else 0):
                    self.wfile.write(body[at : at + 1])
                    self.wfile.flush()
                    time.sleep(drip or 0)
                if not drip:
                    self.wfile.write(body if cut is None else body[:cut])
            if cut is not None and cut < len(body):
                self._end()

        def _end(self) -> None:
            self.close_connection = True
            # A client that was killed meanwhile has ended it already.
            with contextlib.suppress(OSError):
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)

    server = ThreadingHTTPServer((address, 0), Handler)
    server.daemon_threads = True
    proxy.endpoint = f"http://{address}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)

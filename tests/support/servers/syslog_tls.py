"""A syslog collector over TLS on 127.0.0.1: RFC 5425's octet counting, read by code of the tests' own."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.servers.certificates import Pair

_HEAD = re.compile(rb"<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) (-) (.*)", re.DOTALL)


@dataclass
class Collector:
    """What arrived.

    :ivar messages: the parts of each message: priority, time, host, application, process, message id, data, text.
    """

    port: int = 0
    messages: list[tuple[bytes, ...]] = field(default_factory=list)
    connections: list[ssl.SSLSocket] = field(default_factory=list)
    accepted: int = 0

    def wait_for(self, count: int) -> list[tuple[bytes, ...]]:
        """The messages, once there are so many."""
        end = time.monotonic() + 20
        while len(self.messages) < count:
            assert time.monotonic() < end, f"{len(self.messages)} of {count} messages came"
            time.sleep(0.01)
        return self.messages

    def hang_up(self) -> None:
        """End every connection, as a collector that is restarted does."""
        for connection in self.connections:
            with_shutdown(connection)
        self.connections.clear()


def with_shutdown(connection: socket.socket) -> None:
    """End a connection for both sides."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The other side was faster.
        assert connection.fileno() != 0
    connection.close()


@contextmanager
def collector(own: Pair, *, port: int = 0, clients: str | None = None) -> Iterator[Collector]:
    """A collector that listens while the block runs.

    :param clients: the CA of the clients' certificates, for one that asks for them.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)
    if clients:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", port))
    found = Collector(listener.getsockname()[1])
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                connection = context.wrap_socket(plain, server_side=True)
            except OSError:
                plain.close()
                continue
            found.accepted += 1
            found.connections.append(connection)
            threading.Thread(target=_read, args=(connection, found), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield found
    finally:
        ended.set()
        # On Linux a blocked accept() ends with the shutdown, not with the close.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        found.hang_up()


def _read(connection: ssl.SSLSocket, found: Collector) -> None:
    data = b""
    while True:
        try:
            piece = connection.recv(65_536)
        except OSError:
            return
        if not piece:
            return
        data += piece
        while framed := re.match(rb"([1-9]\d*) ", data):
            start, size = framed.end(), int(framed[1])
            if len(data) < start + size:
                break
            message = _HEAD.fullmatch(data[start : start + size])
            assert message, data
            found.messages.append(message.groups())
            data = data[start + size :]

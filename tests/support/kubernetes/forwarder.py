"""A server of loopback at another address too, as it is: bytes go there and back."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PIECE = 1 << 16


@contextmanager
def forwarder(listen: tuple[str, int], target: tuple[str, int]) -> Iterator[None]:
    """Pass every connection on, until the context ends."""
    with socket.create_server(listen) as server:
        threading.Thread(target=_accept, args=(server, target), daemon=True).start()
        try:
            yield
        finally:
            # What waits in accept() is not woken by a close, and would keep the address.
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket, target: tuple[str, int]) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(client, target), daemon=True).start()


def _serve(client: socket.socket, target: tuple[str, int]) -> None:
    with client, contextlib.suppress(OSError), socket.create_connection(target) as there:
        back = threading.Thread(target=_copy, args=(there, client), daemon=True)
        back.start()
        _copy(client, there)
        back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)

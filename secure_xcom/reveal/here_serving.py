"""Serve one person on loopback until nothing was asked for a while, or Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from socket import socket
from typing import TYPE_CHECKING

import uvicorn

from secure_xcom.core.operator_errors import CommandError
from secure_xcom.reveal.app import make_app
from secure_xcom.reveal.giving import OpenedValue
from secure_xcom.reveal.here import HOST, OnePerson, own_rights
from secure_xcom.reveal.serving import LIMITS, Server, service_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from secure_xcom.core.coordinate import Coordinate
    from secure_xcom.deployment import Deployment


def serve_here(
    deployment: Deployment,
    person: str,
    coordinate: Coordinate | None,
    *,
    idle_seconds: float,
    started: Callable[[str], None],
) -> None:
    """Serve until the server was idle for a while, or SIGINT or SIGTERM comes.

    :param person: who runs it, for the access log. :param coordinate: the XCom that the address names.
    :param started: is told the one-time address once the server listens.
    :raises SecureXComError: the settings, the access log or the database cannot be used.
    """
    with closing(_listener()) as listener:
        people = OnePerson(person, listener.getsockname()[1])
        with service_of(
            deployment, lambda: deployment.policy, people, OpenedValue(), decide=own_rights
        ) as service:
            app = _LastAsked(make_app(service, reveals_at_once=1))
            config = uvicorn.Config(app, **LIMITS)
            server = _UntilIdle(
                config, app, idle_seconds, lambda _: started(people.address(coordinate)), service.logins.stop
            )
            server.run(sockets=[listener])


def _listener() -> socket:
    """Return a socket on a port of loopback that the system chooses; it listens already."""
    listener = socket()
    try:
        listener.bind((HOST, 0))
        listener.listen()
    except OSError as error:
        listener.close()
        raise CommandError(
            f"no loopback port is available to listen on ({type(error).__name__})",
            where=HOST,
            remedy="run the command on a machine of your own",
        ) from None
    return listener


class _LastAsked:
    """Passes requests on, and knows when the last one was answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._asking = 0
        self._last = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._asking += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._asking -= 1
            self._last = time.monotonic()

    def idle_for(self) -> float:
        """Return for how many seconds nothing was asked."""
        return 0.0 if self._asking else time.monotonic() - self._last


class _UntilIdle(Server):
    """Stops when nothing was asked for a while."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: _LastAsked,
        idle_seconds: float,
        started: Callable[[str], None],
        stopping: Callable[[], None],
    ) -> None:
        super().__init__(config, started, stopping)
        self._app = app
        self._idle_seconds = idle_seconds

    async def on_tick(self, counter: int) -> bool:
        if self._app.idle_for() > self._idle_seconds:
            self.should_exit = True
        return await super().on_tick(counter)

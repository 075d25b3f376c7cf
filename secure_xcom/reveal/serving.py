"""Run the service: its parts from a deployment, and the server around them."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from secure_xcom.core.access_policy.watched_policy import watched
from secure_xcom.core.operator_errors import CommandError, RevealNotSetUp
from secure_xcom.ops.xcom_table import Database, database_url
from secure_xcom.reveal.app import make_app
from secure_xcom.reveal.bounded_connection import PromptHttp
from secure_xcom.reveal.giving import OpenedValue, SealedBytes
from secure_xcom.reveal.oidc_people import OidcPeople
from secure_xcom.reveal.people import VaultPeople
from secure_xcom.reveal.revealing import Revealer
from secure_xcom.reveal.service import Service

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.deployment import Deployment
    from secure_xcom.reveal.giving import Giver
    from secure_xcom.reveal.revealing import Decide
    from secure_xcom.reveal.site import People

STOP_SECONDS = 30
"""The time for requests that have begun, after a SIGTERM: under a minute, as orchestrators grant."""

LIMITS: dict[str, Any] = {
    # The address of a callback holds a code.
    "access_log": False,
    "log_config": None,
    "log_level": logging.WARNING,
    "server_header": False,
    # No client's address is used, so no header of a proxy is believed.
    "proxy_headers": False,
    "lifespan": "off",
    "http": PromptHttp,
    "ws": "none",
    "limit_concurrency": 500,
    "timeout_keep_alive": 30,
    "timeout_graceful_shutdown": STOP_SECONDS,
}
"""The settings of every mode's server."""


@dataclass(frozen=True, slots=True)
class Listen:
    """The address on which the server listens.

    :ivar certificate: a PEM file with the certificate chain, and :ivar key: of its private key; both or none.
    """

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


@contextmanager
def service_of(
    deployment: Deployment,
    policy: Callable[[], AccessPolicy],
    people: People,
    giver: Giver,
    *,
    decide: Decide | None = None,
) -> Iterator[Service]:
    """Give the service of a deployment; at its end the access log's chain is ended and the database closed.

    :param decide: decides whether a person may see an XCom; by default, the viewers of the access policy do.
    :raises SecureXComError: the settings, the access policy, the access log or the database cannot be used.
    """
    # A log that cannot be written stops the command before the database is asked.
    access_log = deployment.access_log
    with closing(access_log), closing(Database(database_url())) as database:
        settings, names = deployment.settings, deployment.sensitive_names
        revealer = Revealer(settings, database, access_log, names, giver=giver, decide=decide)
        service = Service(settings, policy, revealer, names, people)
        service.set_up()
        # Airflow's tables are those that this release knows.
        _ = database.schema
        yield service


def serve(
    deployment: Deployment,
    listen: Listen,
    *,
    reveals_at_once: int,
    started: Callable[[str], None],
    opens: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered first.

    :param started: is told the URL once the server listens.
    :param opens: the service unwraps, and people log in by OpenID Connect.
    :raises SecureXComError: the service cannot start.
    """
    path = deployment.settings.access_policy
    if not path:
        raise RevealNotSetUp(
            "there is no access policy, so nobody may see a value", where="[secure_xcom] access_policy"
        )
    people: People = OidcPeople() if opens else VaultPeople()
    giver: Giver = OpenedValue() if opens else SealedBytes()
    with service_of(deployment, watched(path).current, people, giver) as service:
        run(make_app(service, reveals_at_once=reveals_at_once), listen, started, service.logins.stop)


def run(
    app: ASGIApp, listen: Listen, started: Callable[[str], None], stopping: Callable[[], None] = lambda: None
) -> None:
    """Run an application with the server's limits.

    :param started: is told the URL once the server listens; :param stopping: is called when the server is to stop.
    :raises CommandError: the address or the certificate cannot be used.
    """
    if (listen.certificate is None) != (listen.key is None):
        raise CommandError(
            "a certificate and its key must be given together",
            where="--tls-certificate, --tls-key",
            remedy="give both, or neither behind a proxy that terminates TLS",
        )
    try:
        config = uvicorn.Config(
            app,
            host=listen.host,
            port=listen.port,
            ssl_certfile=listen.certificate,
            ssl_keyfile=None if listen.key is None else str(listen.key),
            **LIMITS,
        )
        config.load()
    except (OSError, ValueError) as error:
        raise CommandError(
            f"the certificate or its key cannot be read ({type(error).__name__})",
            where="--tls-certificate, --tls-key",
            remedy="name PEM files that this user can read",
        ) from None
    server = Server(config, started, stopping)
    try:
        server.run()
    except SystemExit:
        # uvicorn logs why.
        raise CommandError(
            "the server cannot listen",
            where=f"{listen.host}:{listen.port}",
            remedy="choose an address of this machine and a free port with --host and --port",
        ) from None
    if server.interrupted:
        raise KeyboardInterrupt


class Server(uvicorn.Server):
    """Tells where it listens, which with port 0 the system decides, and that it stops."""

    def __init__(
        self, config: uvicorn.Config, started: Callable[[str], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._tell = started
        self._stopping = stopping
        self.interrupted = False
        """True if Ctrl-C ended it."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        scheme = "https" if self.config.is_ssl else "http"
        for server in self.servers:
            for bound in server.sockets:
                host, port = bound.getsockname()[:2]
                self._tell(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again at the end, which would end the process before the access log is.
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.interrupted = self.interrupted or sig == signal.SIGINT
        super().handle_exit(sig, frame)

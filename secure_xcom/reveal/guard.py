"""Around every request: the headers of every answer, and errors as answers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.operator_errors import RevealError, RevealOriginRefused
from secure_xcom.reveal.answers import error_record, status_of
from secure_xcom.reveal.pages import headers

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from secure_xcom.reveal.service import Service
    from secure_xcom.reveal.site import Site

log = logging.getLogger(__name__)

_POPUPS = ("/login", "/callback")


class Guard:
    """An ASGI middleware. No error leaves it, and no answer without our headers.

    :param service: whose access policy says who may frame the page, and what it may connect to.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer for its errors."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        # Until the access policy was read, nothing is allowed.
        own_headers = headers(None)
        started = False
        problem: SecureXComError | None = None
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(own_headers)
            await send(message)

        try:
            site = self._site()
            own_headers = headers(site, framed=path == "/", popup=path in _POPUPS)
            _check_host(site, scope)
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            # Nobody is there to be answered.
            return
        except SecureXComError as error:
            problem, status = error, status_of(error)
        except Exception as error:
            # The text of a foreign error may quote a request, so only its class is told.
            log.exception("a request failed")
            problem, status = RevealError(f"the request failed ({type(error).__name__})"), 500
        if problem is None:
            return
        if started:
            # What was sent cannot be taken back: the server closes the connection before the announced length.
            raise problem
        await JSONResponse(error_record(problem), status)(scope, receive, send_with_headers)

    def _site(self) -> Site | None:
        try:
            return self._service.set_up()[1]
        except SecureXComError:
            # Whatever needs the policy says so itself; the others answer without any permission.
            return None


def _check_host(site: Site | None, scope: Scope) -> None:
    """Check that a request is for an address of our own, where the mode has addresses of its own.

    A page elsewhere whose name was made to mean this address (DNS rebinding) names itself here.

    :raises RevealOriginRefused: it is for another address.
    """
    if site is None or not site.hosts:
        return
    named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(named) != 1 or named[0] not in site.hosts:
        raise RevealOriginRefused(
            "the request is for another address than this one",
            where="Host",
            remedy="use the address that the command printed",
        )

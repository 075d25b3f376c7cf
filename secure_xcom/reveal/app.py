"""The HTTP interface of the reveal service. docs/reference/reveal-http.md describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.operator_errors import RevealError, RevealRequestInvalid
from secure_xcom.reveal import REVEALS_AT_ONCE, metrics
from secure_xcom.reveal.answers import error_record
from secure_xcom.reveal.guard import Guard
from secure_xcom.reveal.pages import page_files
from secure_xcom.reveal.request import json_object
from secure_xcom.reveal.reveal_route import RevealRoute, body_of, check_sender

if TYPE_CHECKING:
    from starlette.requests import Request

    from secure_xcom.reveal.service import Service

_PAGES = {"/": "index.html", "/login": "login.html", "/callback": "callback.html"}


def make_app(service: Service, *, reveals_at_once: int = REVEALS_AT_ONCE) -> Starlette:
    """Return the ASGI application.

    :param reveals_at_once: how many XComs are revealed at the same time.
    """
    routes = _Routes(service)
    return Starlette(
        routes=[
            *(Route(path, routes.page) for path in _PAGES),
            Route("/static/{path:path}", routes.static),
            Route("/config.json", routes.configuration),
            Route("/v1/logins/{state}", routes.leave_code, methods=["PUT"]),
            Route("/v1/logins/{state}", routes.take_code, methods=["GET"]),
            Route("/v1/session", routes.session, methods=["POST"]),
            Route("/v1/reveal", RevealRoute(service, reveals_at_once), methods=["POST"]),
            Route("/healthz", routes.health),
            Route("/metrics", routes.metrics),
        ],
        middleware=[Middleware(Guard, service=service)],
        exception_handlers={HTTPException: _no_such_route},
    )


class _Routes:
    """The handlers of all routes but that of reveals."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def page(self, request: Request) -> Response:
        return self._file(_PAGES[request.url.path])

    async def static(self, request: Request) -> Response:
        return self._file(request.path_params["path"])

    def _file(self, path: str) -> Response:
        self._service.set_up()
        file = page_files().get(path)
        if file is None:
            raise HTTPException(404)
        return Response(file.body, media_type=file.content_type)

    async def configuration(self, _request: Request) -> Response:
        # It may ask the identity provider where people log in.
        return JSONResponse(await run_in_threadpool(self._service.configuration))

    async def _record(self, request: Request) -> Mapping[str, Any]:
        """Return the body of a request from our own page, a JSON object.

        :raises SecureXComError: it comes from elsewhere, or is none.
        """
        check_sender(request, self._service.set_up()[1].origin)
        return json_object(await body_of(request))

    async def session(self, request: Request) -> Response:
        record = await self._record(request)
        session = await run_in_threadpool(self._service.session, record)
        return JSONResponse(session.record())

    async def leave_code(self, request: Request) -> Response:
        record = await self._record(request)
        if set(record) != {"code"}:
            raise RevealRequestInvalid("the body is not an object with the field 'code' alone", where="the body")
        self._service.logins.leave(request.path_params["state"], record["code"])
        return Response(status_code=204)

    async def take_code(self, request: Request) -> Response:
        if request.method != "GET":
            # Starlette lets HEAD have the routes of GET; its answer has no body, so the code would be lost.
            raise HTTPException(405)
        code: str | None = None
        problem: SecureXComError | None = None
        async with anyio.create_task_group() as tasks:
            # A page that has gone waits no more, and the next one may.
            tasks.start_soon(_until_disconnected, request, tasks.cancel_scope)
            try:
                code = await self._service.logins.take(request.path_params["state"])
            except SecureXComError as error:
                # The group would wrap it.
                problem = error
            tasks.cancel_scope.cancel()
        if problem is not None:
            raise problem
        return Response(status_code=204) if code is None else JSONResponse({"code": code})

    async def health(self, _request: Request) -> Response:
        self._service.set_up()
        return JSONResponse({"status": "ok"})

    async def metrics(self, _request: Request) -> Response:
        return Response(self._service.metrics.text(), media_type=metrics.CONTENT_TYPE)


async def _no_such_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    what = "there is nothing here" if status == 404 else "the request cannot be answered"
    problem = RevealError(
        what, where=f"{request.method} {request.url.path!r:.200}", remedy="see docs/reference/reveal-http.md"
    )
    return JSONResponse(error_record(problem), status)


async def _until_disconnected(request: Request, waiting: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    waiting.cancel()

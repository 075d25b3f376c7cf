"""A double of all that the reveal page talks to: the reveal service, Vault, an identity provider, a framing page.

One server with a port for each, so that they are origins of their own. It follows the services' HTTP, and decides
nothing: what is refused, and by whom, is the tests' choice.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from tests.support import second_reader

STATIC = Path(__file__).parents[2] / "secure_xcom" / "reveal" / "static"
DATA_KEY = bytes(range(32))
CREATED = "2026-11-22T10:00:00Z"
SANDBOX = "allow-scripts allow-same-origin allow-forms allow-popups allow-popups-to-escape-sandbox allow-downloads"
FRAME_ID = "reveal"


@dataclass
class Double:
    """What the four servers answer, and what they were asked.

    :ivar answers: what the reveal service gives, by XCom key; an `error` is given with its `status`.
    """

    ports: dict[str, int]
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    wraps: dict[str, str] = field(default_factory=dict, repr=False)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list, repr=False)
    coop: bool = False
    mode: str = "browser"
    hide_after_seconds: int = 60
    denied: bool = False
    codes: dict[str, str] = field(default_factory=dict, repr=False)
    nonces: dict[str, str] = field(default_factory=dict, repr=False)
    tokens: set[str] = field(default_factory=set, repr=False)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.ports['reveal']}"

    @property
    def vault(self) -> str:
        return f"http://127.0.0.1:{self.ports['vault']}"

    @property
    def airflow(self) -> str:
        # Another site than the page's, as in a deployment.
        return f"http://localhost:{self.ports['airflow']}"

    @property
    def foreign(self) -> str:
        return f"http://localhost:{self.ports['foreign']}"

    @property
    def provider(self) -> str:
        return f"http://localhost:{self.ports['provider']}"

    def page(self, key: str = "return_value", **changes: str) -> str:
        """The page's address for an XCom."""
        named = {**coordinate(key), "map_index": "-1", **changes}
        return f"{self.origin}/#{urlencode(named, quote_via=quote)}"

    def framed(self, key: str = "return_value", *, by: str = "", **changes: str) -> str:
        """The address of a page that frames the reveal page."""
        return f"{by or self.airflow}/?{urlencode({'src': self.page(key, **changes)})}"

    def seal(
        self, key: str, encoded: bytes, *, codec: str = "json", compression: str = "none", **more: Any
    ) -> dict[str, Any]:
        """Let the reveal service have an XCom, sealed by the second reader; return its answer, to be edited."""
        head = {
            **coordinate(key),
            "map_index": "-1",
            "compartment": "finance",
            "codec": codec,
            "compression": compression,
            "created": CREATED,
        }
        message = second_reader.seal(DATA_KEY, second_reader.canonical(head), encoded, bytes(24))
        parts = (
            head["compartment"],
            head["dag_id"],
            head["task_id"],
            f"{head['map_index']}\n{head['run_id']}",
        )
        context = base64.b64encode(b"".join(hashlib.sha384(part.encode()).digest() for part in parts)).decode()
        wrapped = f"vault:v1:{base64.b64encode(uuid.uuid4().bytes).decode()}"
        self.wraps[wrapped] = context
        self.answers[key] = {
            "event": str(uuid.uuid4()),
            "person": "ana@example.com",
            "compartment": "finance",
            "rule": "compartments[finance].viewers[0]",
            "head": head,
            "seal": {"header": base64.b64encode(message[:56]).decode(), "size": len(message)},
            "wraps": [{"mount": "transit", "key": "finance", "wrapped": wrapped, "context": context}],
            "payload": base64.b64encode(message).decode(),
            "data": None,
            "sensitive": {"names": ["password", "token", "api_key"], "exceptions": [], "all": False},
            "expires": None,
            **more,
        }
        return self.answers[key]


def coordinate(key: str) -> dict[str, str]:
    """The ids of all XComs of this double."""
    return {"dag_id": "finance_daily", "run_id": "manual__2026", "task_id": "extract", "key": key}


@contextmanager
def reveal_double() -> Iterator[Double]:
    """Run the servers on 127.0.0.1."""
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in _APPS}
    double = Double({name: held.getsockname()[1] for name, held in sockets.items()})
    apps = {double.ports[name]: make(double) for name, make in _APPS.items()}

    async def by_port(scope: Scope, receive: Receive, send: Send) -> None:
        await apps[scope["server"][1]](scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(by_port, lifespan="off", log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": list(sockets.values())})
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield double
    finally:
        # Whoever is still waiting for a login is not waited for.
        server.should_exit = server.force_exit = True
        thread.join()


def _reveal(double: Double) -> Starlette:
    async def config(_: Request) -> Response:
        vault = {
            "address": double.vault,
            "namespace": None,
            "auth_mount": "oidc",
            "role": "secure-xcom-reveal",
            "token_role": "secure-xcom-reveal",
        }
        return JSONResponse(
            {
                "mode": double.mode,
                "airflow_origin": double.airflow,
                "vault": vault if double.mode == "browser" else None,
                "oidc": None,
                "max_bytes": 8 << 20,
                "hide_after_seconds": double.hide_after_seconds,
                "release": "0",
            }
        )

    async def reveal(request: Request) -> Response:
        body = await request.json()
        double.asked.append(("reveal", {**body, "authorization": request.headers.get("authorization")}))
        answer = double.answers[body["coordinate"]["key"]]
        status = answer.get("status", 200)
        return JSONResponse({k: v for k, v in answer.items() if k != "status"}, status_code=status)

    async def put_login(request: Request) -> Response:
        double.codes[request.path_params["state"]] = (await request.json())["code"]
        double.asked.append(("rendezvous", {"state": request.path_params["state"]}))
        return Response(status_code=204)

    async def get_login(request: Request) -> Response:
        for _ in range(40):
            if code := double.codes.pop(request.path_params["state"], None):
                return JSONResponse({"code": code})
            await asyncio.sleep(0.05)
        return Response(status_code=204)

    def page(name: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(_: Request) -> Response:
            return FileResponse(STATIC / name)

        return answer

    routes = [
        Route("/", page("index.html")),
        Route("/login", page("login.html")),
        Route("/callback", page("callback.html")),
        Route("/config.json", config),
        Route("/v1/reveal", reveal, methods=["POST"]),
        Route("/v1/logins/{state}", put_login, methods=["PUT"]),
        Route("/v1/logins/{state}", get_login),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]

    async def headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = await call_next(request)
        popup = request.url.path in ("/login", "/callback")
        ancestors = "'none'" if popup else double.airflow
        answer.headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' {double.vault}; "
            f"frame-ancestors {ancestors}; base-uri 'none'; form-action 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        )
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=headers)])


def _vault(double: Double) -> Starlette:
    async def auth_url(request: Request) -> Response:
        body = await request.json()
        state = uuid.uuid4().hex
        double.nonces[state] = body["client_nonce"]
        query = urlencode({"state": state, "redirect_uri": body["redirect_uri"], "response_type": "code"})
        return JSONResponse({"data": {"auth_url": f"{double.provider}/authorize?{query}"}})

    async def callback(request: Request) -> Response:
        given = request.query_params
        double.asked.append(("callback", dict(given)))
        if double.nonces.pop(given["state"], None) != given["client_nonce"]:
            return JSONResponse({"errors": ["Expired or missing OAuth state."]}, status_code=400)
        token = f"hvs.{uuid.uuid4().hex}"
        double.tokens.add(token)
        return JSONResponse({"auth": {"client_token": token}})

    def with_token(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            if request.headers.get("x-vault-token") not in double.tokens:
                return JSONResponse({"errors": ["permission denied"]}, status_code=403)
            return await answer(request)

        return checked

    async def identity(_: Request) -> Response:
        return JSONResponse({"data": {"token": "identity-token"}})

    async def decrypt(request: Request) -> Response:
        body = await request.json()
        double.asked.append(("decrypt", body))
        if double.denied:
            return JSONResponse({"errors": ["1 error occurred: permission denied"]}, status_code=403)
        if double.wraps.get(body["ciphertext"]) != body["context"]:
            message = {"errors": ["cipher: message authentication failed"]}
            return JSONResponse(message, status_code=400)
        return JSONResponse({"data": {"plaintext": base64.b64encode(DATA_KEY).decode()}})

    async def revoke(request: Request) -> Response:
        double.tokens.discard(request.headers["x-vault-token"])
        return Response(status_code=204)

    async def preflight(_: Request) -> Response:
        return Response(status_code=204)

    routes = [
        Route("/v1/auth/oidc/oidc/auth_url", auth_url, methods=["POST"]),
        Route("/v1/auth/oidc/oidc/callback", callback),
        Route("/v1/identity/oidc/token/secure-xcom-reveal", with_token(identity)),
        Route("/v1/transit/decrypt/finance", with_token(decrypt), methods=["POST"]),
        Route("/v1/auth/token/revoke-self", with_token(revoke), methods=["POST"]),
        Route("/{path:path}", preflight, methods=["OPTIONS"]),
    ]

    async def cors(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = Response(status_code=204) if request.method == "OPTIONS" else await call_next(request)
        if request.headers.get("origin") == double.origin:
            answer.headers["Access-Control-Allow-Origin"] = double.origin
            answer.headers["Access-Control-Allow-Headers"] = "Content-Type, X-Vault-Token, X-Vault-Namespace"
            answer.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT"
        return answer

    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=cors)])


def _provider(double: Double) -> Starlette:
    async def authorize(request: Request) -> Response:
        where = f"/granted?{request.url.query}"
        page = (
            f'<!doctype html><title>Provider</title><a id="grant" href="{where.replace("&", "&amp;")}">Log in</a>'
        )
        headers = {"Cross-Origin-Opener-Policy": "same-origin"} if double.coop else {}
        return HTMLResponse(page, headers=headers)

    async def granted(request: Request) -> Response:
        given = request.query_params
        query = urlencode({"code": uuid.uuid4().hex, "state": given["state"]})
        return RedirectResponse(f"{given['redirect_uri']}?{query}", status_code=303)

    return Starlette(routes=[Route("/authorize", authorize), Route("/granted", granted)])


def _framing(double: Double) -> Starlette:
    async def frame(request: Request) -> Response:
        src = request.query_params.get("src", "")
        made = json.dumps({"src": src, "sandbox": SANDBOX, "id": FRAME_ID, "allow": "clipboard-write"})
        script = (
            f"const frame = Object.assign(document.createElement('iframe'), {{width: 900, height: 600}});"
            f"for (const [name, value] of Object.entries({made})) frame.setAttribute(name, value);"
            "globalThis.heard = [];"
            "addEventListener('message', (event) => heard.push([event.origin, event.data]));"
            "document.body.append(frame);"
        )
        return HTMLResponse(f"<!doctype html><title>Frame</title><body><script>{script}</script>")

    return Starlette(routes=[Route("/", frame)])


_APPS: dict[str, Callable[[Double], Starlette]] = {
    "reveal": _reveal,
    "vault": _vault,
    "provider": _provider,
    "airflow": _framing,
    "foreign": _framing,
}

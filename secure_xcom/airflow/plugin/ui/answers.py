"""How this app answers: JSON that is nothing but JSON to a browser, and our errors as sentences."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from secure_xcom.airflow.plugin.ui.xcom_findings import sentence
from secure_xcom.core.errors import ConfigurationError, SecureXComError
from secure_xcom.core.operator_errors import AccessLogUnreadable, RequestInvalid, TablesUnknown, XComNotFound

# Starlette has given the constant another name.
_UNPROCESSABLE = 422
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
}
_STATUS: tuple[tuple[type[SecureXComError], int], ...] = (
    (RequestInvalid, _UNPROCESSABLE),
    (XComNotFound, status.HTTP_404_NOT_FOUND),
    (TablesUnknown, status.HTTP_503_SERVICE_UNAVAILABLE),
    (AccessLogUnreadable, status.HTTP_503_SERVICE_UNAVAILABLE),
    (ConfigurationError, status.HTTP_503_SERVICE_UNAVAILABLE),
)


class Answer(JSONResponse):
    """JSON of ASCII characters: a lone surrogate of a row can be written, and nothing can be taken for HTML."""

    def render(self, content: Any) -> bytes:
        """Return the content's bytes."""
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


async def with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Let no answer be stored, framed or taken for anything but what it is."""
    response = await call_next(request)
    if "etag" not in response.headers:
        response.headers.update(_HEADERS)
    else:
        response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def add_errors(app: FastAPI) -> None:
    """Answer our errors, and those of parameters and of the database, with one form."""

    @app.exception_handler(SecureXComError)
    async def ours(_: Request, error: SecureXComError) -> Answer:
        code = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
        return _refusal(code, sentence(error.what), sentence(error.remedy))

    @app.exception_handler(RequestValidationError)
    async def parameters(_: Request, error: RequestValidationError) -> Answer:
        first = error.errors()[0]
        name = str(first["loc"][-1])
        return _refusal(_UNPROCESSABLE, sentence(f"`{name}`: {first['msg']}"), "Correct the parameter.")

    @app.exception_handler(SQLAlchemyError)
    async def database(_: Request, error: SQLAlchemyError) -> Answer:
        # A driver's text repeats parameters and addresses.
        name = type(getattr(error, "orig", None) or error).__name__
        text = f"Airflow's database did not answer ({name})."
        return _refusal(status.HTTP_503_SERVICE_UNAVAILABLE, text, "Try again; then see the API server's log.")


def _refusal(code: int, detail: str, remedy: str) -> Answer:
    return Answer({"detail": detail, "remedy": remedy}, status_code=code)

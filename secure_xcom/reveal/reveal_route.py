"""``POST /v1/reveal``: a bounded number of requests at once, each in bounded memory."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request

from secure_xcom.core.operator_errors import RevealBusy, RevealError, RevealOriginRefused, RevealRequestInvalid
from secure_xcom.reveal import REVEALS_AT_ONCE
from secure_xcom.reveal.request import BODY_MAX_BYTES
from secure_xcom.sinks.recording import outcome_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from secure_xcom.reveal.giving import Given
    from secure_xcom.reveal.service import Service

_IDENTITIES_AT_ONCE = 8
_WAIT_SECONDS = 15.0
_BODY_SECONDS = 10.0
_SEND_SECONDS = 120.0
# A multiple of three bytes, so that the base64 of the pieces is that of the whole.
_PIECE_BYTES = 3 << 16

Result = TypeVar("Result")


class RevealRoute:
    """An ASGI application for one route.

    :param at_once: how many XComs are revealed at the same time.
    """

    def __init__(self, service: Service, at_once: int = REVEALS_AT_ONCE) -> None:
        self._service = service
        # Who proves no identity takes no place of those who do.
        self._identities = anyio.Semaphore(_IDENTITIES_AT_ONCE)
        self._reveals = anyio.Semaphore(at_once)
        self._threads = anyio.CapacityLimiter(_IDENTITIES_AT_ONCE + at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        began = time.monotonic()
        metrics = self._service.metrics
        metrics.in_progress += 1
        size = 0
        try:
            size = await self._answer(Request(scope, receive), send)
        except Exception as error:
            metrics.answered(outcome_of(error), type(error).__name__, time.monotonic() - began)
            raise
        finally:
            metrics.in_progress -= 1
        metrics.answered("ok", "", time.monotonic() - began, size)

    async def _answer(self, request: Request, send: Send) -> int:
        """Send an answer, and return how many bytes of the XCom it has."""
        _, site = self._service.set_up()
        check_sender(request, site.origin)
        body = await body_of(request)
        authorization = request.headers.get("authorization", "")
        async with _place(self._identities):
            person = await self._in_thread(lambda: self._service.person(authorization))
        async with _place(self._reveals):
            revealed = await self._in_thread(lambda: self._service.reveal(person, body))
            record = revealed.record(self._service.sensitive())
            with anyio.move_on_after(_SEND_SECONDS) as limit:
                await _send(send, record, revealed.given)
            if limit.cancelled_caught:
                # The place is needed for others.
                raise RevealError("the browser did not take the answer in time", where="/v1/reveal")
            return len(revealed.given.body)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)


def check_sender(request: Request, origin: str) -> None:
    """Check that a request is JSON from a page of our own origin, and not a form or a page elsewhere.

    :raises RevealOriginRefused: it comes from elsewhere; :raises RevealRequestInvalid: it is not JSON.
    """
    if request.headers.get("origin") != origin:
        raise RevealOriginRefused("the request does not come from the reveal service's own page", where="Origin")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RevealRequestInvalid("the body is not declared as application/json", where="Content-Type")


async def body_of(request: Request) -> bytes:
    """Return the body of a request, which is short and comes at once.

    :raises RevealRequestInvalid: it is too long or too slow.
    """
    body = b""
    with anyio.move_on_after(_BODY_SECONDS) as limit:
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_MAX_BYTES:
                raise RevealRequestInvalid(f"the body has more than {BODY_MAX_BYTES} bytes", where="the body")
    if limit.cancelled_caught:
        raise RevealRequestInvalid(f"the body did not come within {_BODY_SECONDS:.0f} seconds", where="the body")
    return body


@asynccontextmanager
async def _place(places: anyio.Semaphore) -> AsyncIterator[None]:
    """Wait for one of the places.

    :raises RevealBusy: none gets free in time.
    """
    try:
        with anyio.fail_after(_WAIT_SECONDS):
            await places.acquire()
    except TimeoutError:
        raise RevealBusy("the service works on as many requests as it may at once", where="/v1/reveal") from None
    try:
        yield
    finally:
        places.release()


async def _send(send: Send, record: dict[str, Any], content: Given) -> None:
    """Send a record and what is given in pieces, so that a slow reader is waited for and no copy is made."""
    name = b"data" if content.is_open else b"payload"
    before = json.dumps(record).encode().removesuffix(b"}") + b', "' + name + b'": "'
    after = b'"}'
    length = len(before) + (len(content.body) + 2) // 3 * 4 + len(after)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in chain((before,), _base64_pieces(content.body)):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": after})


def _base64_pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield base64.b64encode(body[start : start + _PIECE_BYTES])

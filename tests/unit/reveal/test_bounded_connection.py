"""The server's connections: whoever is slow or sends without end keeps nobody else out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from secure_xcom.reveal import bounded_connection
from secure_xcom.reveal.bounded_connection import PromptHttp
from secure_xcom.reveal.serving import Listen, run

HEAD_SECONDS = 0.3
REQUEST = b"GET / HTTP/1.1\r\nHost: reveal.example.com\r\n\r\n"

Use = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


@pytest.fixture(autouse=True)
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for ten seconds."""
    monkeypatch.setattr(bounded_connection, "HEAD_SECONDS", HEAD_SECONDS)


async def slow_app(scope: Any, receive: Any, send: Any) -> None:
    """An application that works for longer than a head may take."""
    await asyncio.sleep(2 * HEAD_SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def used(use: Use) -> tuple[bytes, float]:
    """What a connection gave, and after how many seconds."""

    async def connect() -> tuple[bytes, float]:
        config = uvicorn.Config(slow_app, http=PromptHttp, log_config=None, lifespan="off")
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: PromptHttp(config, ServerState(), {}), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            began = time.monotonic()
            given = await asyncio.wait_for(use(reader, writer), 20)
            writer.close()
            return given, time.monotonic() - began

    return asyncio.run(connect())


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """All that still comes."""
    with suppress(ConnectionError):
        return await reader.read()
    return b""


def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server closed the connection: a letter that it had not read then makes that a reset."""
    return reader.at_eof() or isinstance(reader.exception(), ConnectionError)


def test_a_silent_connection_is_closed() -> None:
    """Nothing was sent in time."""

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> bytes:
        return await until_closed(reader)

    given, seconds = used(silent)
    assert given == b""
    assert seconds >= HEAD_SECONDS * 0.9


def test_one_byte_now_and_then_gains_no_time() -> None:
    """The time is that of the whole head, of a later request on the same connection as well."""

    async def dribbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(REQUEST)
        given = await reader.readuntil(b"ok")
        with suppress(ConnectionError):
            for letter in b"GET / HTTP/1.1\r\nX: " + b"x" * 1000:
                writer.write(bytes([letter]))
                await asyncio.sleep(HEAD_SECONDS / 10)
                if ended(reader):
                    break
        assert ended(reader)
        return given

    given, _ = used(dribbling)
    assert given.startswith(b"HTTP/1.1 200")


def test_a_head_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not collected: after 64 KiB the answer is an error, and the connection ends."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        heads = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(200))
        writer.write(b"GET / HTTP/1.1\r\n" + heads)
        # The answer is lost where the system resets the connection for what it has not read; the end is not.
        return await until_closed(reader)

    monkeypatch.setattr(bounded_connection, "HEAD_SECONDS", 60)
    given, _ = used(endless)
    assert given.startswith(b"HTTP/1.1 400") or not given


def test_the_server_takes_these_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where httptools is installed, which uvicorn prefers by itself."""
    configs: list[uvicorn.Config] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server: configs.append(server.config))
    run(slow_app, Listen("127.0.0.1", 0), lambda _: None)
    (config,) = configs
    assert config.http_protocol_class is PromptHttp

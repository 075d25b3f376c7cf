"""The interface of each cloud to `ObjectStore`: an obstore client for small payloads, its own SDK for large ones.

obstore supports conditional puts only in one request, with the whole payload in memory. The conditional
completion of a multipart upload (S3), a resumable upload (Google) and a block list (Azure) needs each cloud's own
SDK, which is imported only for payloads of more than one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

from secure_xcom.connections.network import Network
from secure_xcom.stores.bucket_uri import Transport

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Client

Done = TypeVar("Done")

PART_BYTES = 8 << 20
"""The most bytes that one request puts. S3 accepts 10,000 parts, so payloads of up to 78 GiB."""

PARTS_AT_ONCE = 4
"""The number of concurrent parts, so a large put needs 32 MiB of memory."""

# Collected before the memory of a whole part is allocated, because most payloads are small.
_SMALL_BYTES = 1 << 20

# reqwest ends every request after this time, even if data flows; the read timeout ends stalls. A day is longer
# than any payload takes.
_WHOLE_REQUEST = timedelta(days=1)


class Bucket(Protocol):
    """One bucket and prefix, and the identity that opens it."""

    uri: str
    network: bool
    """True if it is accessed over a network, so by threads that do not survive a fork."""

    endpoint: str
    """The URL that requests go to, for errors; empty for memory."""

    attributes: Mapping[str, str]
    """Attributes of each small put, by obstore's names, such as Storage-Class."""

    def client(self) -> Client:
        """Return a new client. Its paths are relative to the prefix."""

    def put_large(self, path: str, parts: Parts) -> None:
        """Create the object from its parts, or leave nothing of it.

        May raise errors of its SDK.
        """


def client_options(transport: Transport, network: Network, where: str, *, logs_in: bool = False) -> ClientConfig:
    """Return obstore's connection options. They replace whatever it read from the environment for a connection.

    :param logs_in: True if obstore makes requests for credentials as well, which always use TLS.
    :raises SettingInvalid: the certificate bundle cannot be read.
    """
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=transport.connect_timeout),
        "read_timeout": timedelta(seconds=transport.timeout),
        "timeout": _WHOLE_REQUEST,
        "pool_max_idle_per_host": str(transport.connections),
        "user_agent": "secure-xcom",
        "allow_http": network.plain,
    }
    if network.verify is False:
        options["allow_invalid_certificates"] = True
    authorities = network.authorities(where) if logs_in or not network.plain else b""
    if authorities:
        options["root_certificate"] = authorities
    if authorities is not None:
        # The machine's own may be missing, which would be an error even where none is needed.
        options["disable_system_certificates"] = True  # type: ignore[typeddict-unknown-key]  # missing in its stubs
    if network.proxy:
        options["proxy_url"] = network.proxy
    elif network.proxies_named:
        # Its HTTP library would take a proxy from the environment, unless it is given one, even for no host.
        options["proxy_url"] = "http://127.0.0.1:9"
        options["proxy_excludes"] = "*,0.0.0.0/0,::/0"
    return options


def retry_config(transport: Transport) -> RetryConfig:
    """Return obstore's retries: of 5xx responses and failed connections, after 0.1 to 15 s with jitter."""
    return {
        "max_retries": transport.retries,
        "retry_timeout": timedelta(seconds=transport.retry_seconds),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=15), "base": 2},
    }


class Parts(Iterator[bytearray]):
    """Splits pieces of any size into parts of PART_BYTES; the last one is smaller.

    A returned part's memory is reused: allocating memory for each part takes longer than sealing its content.

    :ivar error: the error that the pieces' own iterator raised, if any.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._over = memoryview(b"")
        self._first: bytearray | None = None
        self._free: list[bytearray] = []
        self.error: Exception | None = None

    def only(self) -> bytearray | None:
        """Return all pieces if they are at most one part; otherwise None, and every part is still to come."""
        start = bytearray()
        while len(start) < _SMALL_BYTES and self._has_more():
            start += self._taken(_SMALL_BYTES - len(start))
        if not self._has_more():
            return start
        self._first = self._filled(bytearray(PART_BYTES), start)
        return None if self._has_more() else self._first

    def __next__(self) -> bytearray:
        if self._first is not None:
            part, self._first = self._first, None
        else:
            part = self._filled(self._free.pop() if self._free else bytearray(PART_BYTES))
        if not part:
            raise StopIteration
        return part

    def give_back(self, part: bytearray) -> None:
        """Return a part whose memory can be reused."""
        self._free.append(part)

    def _has_more(self) -> bool:
        try:
            while not self._over:
                self._over = memoryview(next(self._pieces))
        except StopIteration:
            return False
        except Exception as error:
            self.error = error
            raise
        return True

    def _filled(self, part: bytearray, start: bytes | bytearray = b"") -> bytearray:
        size = len(start)
        with memoryview(part) as room:
            room[:size] = start
            while size < PART_BYTES and self._has_more():
                taken = self._taken(PART_BYTES - size)
                room[size : size + len(taken)] = taken
                size += len(taken)
        del part[size:]
        return part

    def _taken(self, most: int) -> memoryview:
        taken, self._over = self._over[:most], self._over[most:]
        return taken


def put_parts(parts: Parts, put_part: Callable[[int, bytearray], Done]) -> list[Done]:
    """Put each part, a few concurrently, and return the results in order. Parts count from 1."""
    # Imported here, because most processes never put a payload of more than one part.
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

    begun: list[Future[Done]] = []
    flying: dict[Future[Done], bytearray] = {}
    with ThreadPoolExecutor(PARTS_AT_ONCE) as threads:
        try:
            for number, part in enumerate(parts, 1):
                begun.append(threads.submit(put_part, number, part))
                flying[begun[-1]] = part
                if len(flying) == PARTS_AT_ONCE:
                    # Waiting for the oldest would leave the others idle during one slow response.
                    for future in wait(flying, return_when=FIRST_COMPLETED).done:
                        future.result()
                        parts.give_back(flying.pop(future))
            return [future.result() for future in begun]
        finally:
            for waiting in flying:
                waiting.cancel()

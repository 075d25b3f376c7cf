"""What a cloud's file gives to `ObjectStore`: a client for all that is small, and its SDK's way for what is large.

obstore puts conditionally in one request only, and then holds the whole payload. Conditional completion of a
multipart upload (S3), a resumable upload (Google) and a block list (Azure) are done by each cloud's own SDK, which
is imported only for payloads of more than one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

from secure_xcom.stores.bucket_uri import Transport

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Client

Done = TypeVar("Done")

PART_BYTES = 8 << 20
"""The most that is put with one request. S3 takes 10,000 parts: payloads of up to 78 GiB."""

PARTS_AT_ONCE = 4
"""How many parts are on their way at once, so a large put holds 32 MiB."""

# What is collected before the memory of a whole part is asked for, of which most payloads need little.
_SMALL_BYTES = 1 << 20

# reqwest ends a whole request after this, however well it flows; stalls are ended by the read timeout. A day is
# longer than any payload takes.
_WHOLE_REQUEST = timedelta(days=1)


class Bucket(Protocol):
    """One bucket and prefix, and the identity that opens it."""

    uri: str
    network: bool
    """Whether it is spoken to over a network, and so by threads that do not outlive a fork."""

    attributes: Mapping[str, str]
    """Sent with each small put: obstore's names, such as Storage-Class."""

    def client(self) -> Client:
        """A new client. Paths given to it are relative to the prefix."""

    def put_large(self, path: str, parts: Parts) -> None:
        """Create the object from its parts, or leave nothing of it.

        May raise what its SDK raises.
        """


def client_options(transport: Transport, *, allow_http: bool) -> ClientConfig:
    """obstore's connection options."""
    return {
        "connect_timeout": timedelta(seconds=transport.connect_timeout),
        "read_timeout": timedelta(seconds=transport.timeout),
        "timeout": _WHOLE_REQUEST,
        "pool_max_idle_per_host": str(transport.connections),
        "user_agent": "secure-xcom",
        "allow_http": allow_http,
    }


def retry_config(transport: Transport) -> RetryConfig:
    """obstore's retries: of 5xx answers, refused and dropped connections, with jitter between 0.1 and 15 s."""
    return {
        "max_retries": transport.retries,
        "retry_timeout": timedelta(seconds=transport.retry_seconds),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=15), "base": 2},
    }


class Parts(Iterator[bytearray]):
    """Pieces of any sizes as parts of PART_BYTES, the last one smaller.

    A part that is given back lends its memory to a later one: to have the memory of each part from the system anew
    takes longer than to seal what is in it.

    :ivar error: that of the pieces' own iterator, where it ended with one.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._over = memoryview(b"")
        self._first: bytearray | None = None
        self._free: list[bytearray] = []
        self.error: Exception | None = None

    def only(self) -> bytearray | None:
        """All of the pieces, where they are one part at the most; else None, and each part is still to come."""
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
        """Tell that nobody reads this part any more."""
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
        at = len(start)
        with memoryview(part) as room:
            room[:at] = start
            while at < PART_BYTES and self._has_more():
                taken = self._taken(PART_BYTES - at)
                room[at : at + len(taken)] = taken
                at += len(taken)
        del part[at:]
        return part

    def _taken(self, most: int) -> memoryview:
        taken, self._over = self._over[:most], self._over[most:]
        return taken


def put_parts(parts: Parts, put_part: Callable[[int, bytearray], Done]) -> list[Done]:
    """Put each part, a few at once, and give what putting each has given, in order. Parts count from 1."""
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
                    # Any of them makes room: were it the oldest, one slow answer would leave the others idle.
                    for future in wait(flying, return_when=FIRST_COMPLETED).done:
                        future.result()
                        parts.give_back(flying.pop(future))
            return [future.result() for future in begun]
        finally:
            for waiting in flying:
                waiting.cancel()

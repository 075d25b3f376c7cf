"""What a cloud's file gives to `ObjectStore`: a client for all that is small, and its SDK's way for what is large.

obstore puts conditionally in one request only, and then holds the whole payload. Conditional completion of a
multipart upload (S3), a resumable upload (Google) and a block list (Azure) are done by each cloud's own SDK, which
is imported only for payloads of more than one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

from secure_xcom.stores.place import Transport

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Client

Part = TypeVar("Part")

PART_BYTES = 8 << 20
"""The most that is put with one request. S3 takes 10,000 parts: payloads of up to 78 GiB."""

PARTS_AT_ONCE = 4
"""How many parts are on their way at once, so a large put holds about 40 MiB."""

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

    def put_large(self, path: str, parts: Iterator[bytes]) -> None:
        """Create the object from parts of PART_BYTES, the last one smaller, or leave nothing of it.

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


def put_parts(parts: Iterator[bytes], put_part: Callable[[int, bytes], Part]) -> list[Part]:
    """Put each part, a few at once, and give what putting each has given, in order. Parts count from 1."""
    # Imported here, because most processes never put a payload of more than one part.
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

    begun: list[Future[Part]] = []
    flying: set[Future[Part]] = set()
    with ThreadPoolExecutor(PARTS_AT_ONCE) as threads:
        try:
            for number, part in enumerate(parts, 1):
                begun.append(threads.submit(put_part, number, part))
                flying.add(begun[-1])
                if len(flying) == PARTS_AT_ONCE:
                    # Any of them makes room: were it the oldest, one slow answer would leave the others idle.
                    arrived, flying = wait(flying, return_when=FIRST_COMPLETED)
                    for future in arrived:
                        future.result()
            return [future.result() for future in begun]
        finally:
            for waiting in flying:
                waiting.cancel()

"""Fetch many payloads: in order, concurrently, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from secure_xcom.core.errors import StoreError
from secure_xcom.stores import Store

# Larger payloads are streamed one by one instead of being fetched whole and concurrently.
STREAM_FROM_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Payload:
    """The place of one sealed payload: in a store, or inline.

    :ivar size: in bytes. It decides whether the payload is fetched whole or streamed.
    """

    size: int
    store: Store | None = None
    path: str = ""
    inline: bytes = field(default=b"", repr=False)

    @property
    def _whole(self) -> bool:
        return self.store is not None and self.size <= STREAM_FROM_BYTES


def read_all(payloads: Sequence[Payload]) -> Iterator[Iterable[bytes]]:
    """Yield each payload's pieces, in order. Payloads of one store are fetched within its bounded window.

    A store's error is raised when the pieces of its payload are read. Of an object that is longer than its
    payload's size, only one byte more is read.
    """
    whole: dict[str, tuple[Store, list[str], list[int]]] = {}
    for payload in payloads:
        if payload._whole and payload.store is not None:
            _, paths, sizes = whole.setdefault(payload.store.uri, (payload.store, [], []))
            paths.append(payload.path)
            sizes.append(payload.size)
    fetched = {uri: store.get_many(paths, sizes) for uri, (store, paths, sizes) in whole.items()}
    for payload in payloads:
        if payload.store is None:
            yield (payload.inline,)
        elif payload._whole:
            answer = next(fetched[payload.store.uri])
            yield _raising(answer) if isinstance(answer, StoreError) else (answer,)
        else:
            yield payload.store.get(payload.path)


def _raising(error: StoreError) -> Iterator[bytes]:
    """Return pieces that fail when they are read, so that the error is raised for its own XCom."""
    raise error
    yield b""

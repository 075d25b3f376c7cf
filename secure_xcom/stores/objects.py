"""Buckets and memory as stores, through obstore (the Rust ``object_store``).

    memory://NAME        one shared store per name in this process, for tests and trials

obstore is imported at the first use and never at import: its runtime has threads, which do not outlive a fork.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from secure_xcom.errors import (
    ObjectExists,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    UriInvalid,
)
from secure_xcom.stores import StoredObject
from secure_xcom.stores.paths import checked_path, checked_prefix

if TYPE_CHECKING:
    from obstore import BytesStream
    from obstore.store import MemoryStore
    from obstore.store import ObjectStore as Client

PIECE_BYTES = 4 << 20
"""How much a streamed get holds at a time."""

WINDOW = 16
"""How many objects get_many fetches at once; with PIECE_BYTES it bounds what is held ahead to 64 MiB."""

_MEMORY_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_memories: dict[str, MemoryStore] = {}


class ObjectStore:
    """A store in a bucket or in memory.

    :raises UriInvalid: the URI has a typo, said in the message.
    """

    def __init__(self, uri: str) -> None:
        scheme, separator, name = uri.partition("://")
        if scheme != "memory" or not separator or not _MEMORY_NAME.fullmatch(name):
            raise UriInvalid(
                "not an object store URI",
                where=f"store URI {uri!r:.200}",
                remedy="write memory://NAME with up to 64 letters, digits, _ or -",
            )
        self.uri = uri
        self._name = name

    def put(self, path: str, payload: Iterable[bytes]) -> None:
        """Create the object with one conditional request.

        :raises ObjectExists: there is an object at this path already.
        """
        checked_path(path, self.uri)
        pieces = list(payload)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        with self._translated(path):
            self._client().put(path, body, mode="create")

    def get(self, path: str) -> Iterator[bytes]:
        """The object in pieces of about 4 MiB.

        :raises ObjectMissing: there is none.
        """
        checked_path(path, self.uri)
        with self._translated(path):
            answer = self._client().get(path)
            if answer.meta["size"] > PIECE_BYTES:
                return self._stream(answer.stream(min_chunk_size=PIECE_BYTES), path)
            data = bytes(answer.bytes())
        return iter((data,) if data else ())

    def get_many(self, paths: Sequence[str]) -> Iterator[bytes | StoreError]:
        """Whole objects, in order. Up to 16 of at most 4 MiB are fetched ahead, a larger one at its turn."""
        if len(paths) < 2:
            yield from map(self._whole, paths)
            return
        with ThreadPoolExecutor(min(WINDOW, len(paths))) as threads:
            waiting = iter(paths)
            ahead = deque((path, threads.submit(self._small, path)) for path in islice(waiting, WINDOW))
            try:
                while ahead:
                    path, future = ahead.popleft()
                    fetched = future.result()
                    for following in islice(waiting, 1):
                        ahead.append((following, threads.submit(self._small, following)))
                    yield self._whole(path) if fetched is None else fetched
            finally:
                # A reader that stops early does not wait for what it no longer wants.
                for _, future in ahead:
                    future.cancel()

    def delete_many(self, paths: Sequence[str]) -> list[StoreError | None]:
        """Delete each; an object that is not there counts as deleted."""
        return [self._delete(path) for path in paths]

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object below the prefix, in no order."""
        prefix = checked_prefix(prefix, self.uri)
        with self._translated(prefix):
            for batch in self._client().list(prefix or None):
                for meta in batch:
                    yield StoredObject(meta["path"], meta["size"], meta["last_modified"])

    def _client(self) -> Client:
        client = _memories.get(self._name)
        if client is None:
            from obstore.store import MemoryStore

            client = _memories.setdefault(self._name, MemoryStore())
        return client

    def _whole(self, path: str) -> bytes | StoreError:
        try:
            return b"".join(self.get(path))
        except StoreError as error:
            return error

    def _small(self, path: str) -> bytes | StoreError | None:
        """The object, or None when it is too large to be held ahead of its turn."""
        try:
            checked_path(path, self.uri)
            with self._translated(path):
                answer = self._client().get(path)
                return bytes(answer.bytes()) if answer.meta["size"] <= PIECE_BYTES else None
        except StoreError as error:
            return error

    def _stream(self, stream: BytesStream, path: str) -> Iterator[bytes]:
        with self._translated(path):
            for piece in stream:
                view = memoryview(piece)
                # Memory gives an object as one piece, however large.
                for start in range(0, len(view), PIECE_BYTES):
                    yield bytes(view[start : start + PIECE_BYTES])

    def _delete(self, path: str) -> StoreError | None:
        try:
            checked_path(path, self.uri)
            with self._translated(path):
                self._client().delete(path)
        except ObjectMissing:
            return None
        except StoreError as error:
            return error
        return None

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """No error of obstore leaves: its text holds whole answers of the server."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # whatever a foreign library raises becomes ours
            raise self._error(error, path) from None

    def _error(self, error: Exception, path: str) -> StoreError:
        from obstore import exceptions

        where = f"{self.uri}/{path}"
        if isinstance(error, FileNotFoundError):
            return ObjectMissing("there is no such object", where=where)
        if isinstance(error, (exceptions.AlreadyExistsError, exceptions.PreconditionError)):
            return ObjectExists("there is an object already", where=where)
        if isinstance(error, (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)):
            return StoreDenied("the store refused this identity", where=where)
        return StoreUnavailable(f"the store failed ({type(error).__name__})", where=where)

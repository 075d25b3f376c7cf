"""Buckets and memory as stores, through obstore (the Rust ``object_store``).

    s3://CONN_ID@BUCKET/PREFIX          `secure_xcom.stores.s3`
    gs://CONN_ID@BUCKET/PREFIX          `secure_xcom.stores.gcs`
    abfs://CONN_ID@CONTAINER/PREFIX     `secure_xcom.stores.azure`
    memory://NAME                       one shared store per name in this process, for tests and trials

obstore is imported at the first use and never at import: its network threads do not outlive a fork.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from secure_xcom.core.errors import (
    ObjectExists,
    ObjectMissing,
    SecureXComError,
    StoreError,
    StoreUnavailable,
    UriInvalid,
)
from secure_xcom.core.per_process import PerProcess
from secure_xcom.stores import StoredObject
from secure_xcom.stores.bucket import Bucket, Parts
from secure_xcom.stores.errors import store_error
from secure_xcom.stores.paths import checked_path, checked_prefix
from secure_xcom.stores.size_limit import whole, with_sizes

if TYPE_CHECKING:
    from obstore import BytesStream
    from obstore.store import MemoryStore
    from obstore.store import ObjectStore as Client

PIECE_BYTES = 4 << 20
"""How much a streamed get holds at a time."""

WINDOW = 16
"""How many objects get_many fetches at once; with PIECE_BYTES it bounds what is held ahead to 64 MiB."""

DELETE_BATCH = 1000
"""What S3 deletes with one request. Azure's 256 and Google's single deletes are obstore's to split."""

_MEMORY_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_memories: dict[str, MemoryStore] = {}
# The process that started obstore's network threads. They are one set per process, whatever the client.
_network_pid: int | None = None


class ObjectStore:
    """A store in a bucket or in memory. Safe to be used by several threads.

    :raises ConfigurationError: the URI has a typo, or its connection cannot be used.
    """

    def __init__(self, uri: str) -> None:
        self._bucket = _bucket(uri)
        self.uri = self._bucket.uri
        self._made = PerProcess(self._bucket.client)

    def put(self, path: str, payload: Iterable[bytes]) -> None:
        """Create the object: up to 8 MiB with one conditional request, else with an upload of many parts that is
        completed conditionally or aborted.

        A put whose answer was lost is tried again and then finds an object: its own counts as success.

        :raises ObjectExists: there is an object at this path already, with other content.
        """
        checked_path(path, self.uri)
        parts = Parts(payload)
        body = parts.only()
        try:
            if body is None:
                self._put_large(path, parts)
            else:
                self._put_small(path, body)
        except ObjectMissing:
            # What a put can miss is the bucket, also where the answer does not say so.
            raise StoreUnavailable(
                "the bucket does not exist",
                where=self.uri,
                remedy="create the bucket, or correct the store URI",
            ) from None

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

    def get_many(self, paths: Sequence[str], sizes: Sequence[int] | None = None) -> Iterator[bytes | StoreError]:
        """Whole objects, in order. Up to 16 of at most 4 MiB are fetched ahead, a larger one at its turn."""
        wanted = with_sizes(paths, sizes)
        if len(wanted) < 2:
            yield from (self._whole(*one) for one in wanted)
            return
        from concurrent.futures import ThreadPoolExecutor

        threads = ThreadPoolExecutor(min(WINDOW, len(wanted)))
        try:
            waiting = iter(wanted)
            ahead = deque((one, threads.submit(self._small, *one)) for one in islice(waiting, WINDOW))
            while ahead:
                one, future = ahead.popleft()
                fetched = future.result()
                for following in islice(waiting, 1):
                    ahead.append((following, threads.submit(self._small, *following)))
                yield self._whole(*one) if fetched is None else fetched
        finally:
            # A reader that stops early, such as a task that is ended, does not wait for what it no longer wants.
            threads.shutdown(wait=False, cancel_futures=True)

    def delete_many(self, paths: Sequence[str]) -> list[StoreError | None]:
        """Delete each; an object that is not there counts as deleted."""
        answers: list[StoreError | None] = []
        for start in range(0, len(paths), DELETE_BATCH):
            answers += self._delete_batch(paths[start : start + DELETE_BATCH])
        return answers

    def _client(self) -> Client:
        global _network_pid  # noqa: PLW0603  # the threads behind it belong to the process, not to a store
        pid = os.getpid()
        if self._bucket.network and _network_pid not in (None, pid):
            raise StoreUnavailable(
                "this process was forked from one that had used a bucket already, and would wait for ever",
                where=self.uri,
                remedy="start such processes with `spawn` (multiprocessing.get_context), or push and pull in the "
                "parent only",
            )
        client = self._made.get()
        if self._bucket.network:
            _network_pid = pid
        return client

    def _put_small(self, path: str, body: bytearray) -> None:
        try:
            with self._translated(path):
                self._client().put(path, body, mode="create", attributes=dict(self._bucket.attributes) or None)
        except ObjectExists:
            # Sealed payloads are random bytes, so an equal object is this put's own, of a try without an answer.
            if not self._bucket.network or self._whole(path, len(body)) != bytes(body):
                raise

    def _put_large(self, path: str, parts: Parts) -> None:
        try:
            self._bucket.put_large(path, parts)
        except SecureXComError:
            raise
        except Exception as error:
            # An error of the payload's own iterator is not the store's to name.
            if error is parts.error:
                raise
            raise store_error(error, f"{self.uri}/{path}") from None

    def _whole(self, path: str, size: int | None) -> bytes | StoreError:
        try:
            return whole(self.get(path), size)
        except StoreError as error:
            return error

    def _small(self, path: str, size: int | None) -> bytes | StoreError | None:
        """The object, or None when it is too large to be held ahead of its turn."""
        if size is not None and size > PIECE_BYTES:
            return None
        try:
            checked_path(path, self.uri)
            with self._translated(path):
                answer = self._client().get(path)
                if answer.meta["size"] <= PIECE_BYTES:
                    return whole((bytes(answer.bytes()),), size)
                # Larger than it is to be, or of no known size.
                return None if size is None else whole(self._stream(answer.stream(PIECE_BYTES), path), size)
        except StoreError as error:
            return error

    def _stream(self, stream: BytesStream, path: str) -> Iterator[bytes]:
        with self._translated(path):
            for piece in stream:
                view = memoryview(piece)
                # Memory gives an object as one piece, however large; the services' pieces are a little over.
                step = PIECE_BYTES if len(view) > 2 * PIECE_BYTES else 2 * PIECE_BYTES
                for start in range(0, len(view), step):
                    yield bytes(view[start : start + step])

    def _delete_batch(self, paths: Sequence[str]) -> list[StoreError | None]:
        try:
            for path in paths:
                checked_path(path, self.uri)
            with self._translated("several objects"):
                self._client().delete(list(paths))
        except StoreError as error:
            if len(paths) == 1:
                return [None if isinstance(error, ObjectMissing) else error]
            from concurrent.futures import ThreadPoolExecutor

            # A batch tells only the first thing that is wrong, so each path is asked for by itself; but of a store
            # that is away every path would wait as long as the first.
            first = self._delete_batch(paths[:1])
            if isinstance(first[0], StoreUnavailable):
                return first * len(paths)
            with ThreadPoolExecutor(WINDOW) as threads:
                others = threads.map(lambda path: self._delete_batch([path]), paths[1:])
                return [*first, *(answer for (answer,) in others)]
        return [None] * len(paths)

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """No error of obstore leaves: its text holds whole answers of the server."""
        try:
            yield
        except SecureXComError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a foreign library raises becomes ours
            raise store_error(error, f"{self.uri}/{path}") from None
        except BaseException as error:
            # A panic within obstore is no Exception, as an end of the task is none.
            if type(error).__module__ != "pyo3_runtime":
                raise
            raise store_error(error, f"{self.uri}/{path}") from None

    # Last, because below it the class's own `list` would stand for the type.
    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object below the prefix, in no order."""
        prefix = checked_prefix(prefix, self.uri)
        with self._translated(prefix):
            for batch in self._client().list(prefix or None):
                for meta in batch:
                    yield StoredObject(meta["path"], meta["size"], meta["last_modified"])


class _Memory:
    """The bucket in this process's memory."""

    network = False
    attributes: Mapping[str, str] = {}

    def __init__(self, uri: str) -> None:
        name = uri.removeprefix("memory://")
        if not _MEMORY_NAME.fullmatch(name):
            raise UriInvalid(
                "not a memory store URI",
                where=f"store URI {uri!r:.200}",
                remedy="write memory://NAME with up to 64 letters, digits, _ or -",
            )
        self.uri = uri
        self._name = name

    def client(self) -> MemoryStore:
        from obstore.store import MemoryStore

        return _memories.setdefault(self._name, MemoryStore())

    def put_large(self, path: str, parts: Parts) -> None:
        self.client().put(path, b"".join(parts), mode="create")


def _bucket(uri: str) -> Bucket:
    scheme = uri.partition("://")[0]
    if scheme == "s3":
        from secure_xcom.stores.s3 import S3Bucket

        return S3Bucket(uri)
    if scheme == "gs":
        from secure_xcom.stores.gcs import GcsBucket

        return GcsBucket(uri)
    if scheme == "abfs":
        from secure_xcom.stores.azure import AzureBucket

        return AzureBucket(uri)
    return _Memory(uri)

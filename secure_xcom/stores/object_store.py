"""Buckets and memory as stores, through obstore (the Rust ``object_store``).

    s3://CONN_ID@BUCKET/PREFIX          `secure_xcom.stores.s3`
    gs://CONN_ID@BUCKET/PREFIX          `secure_xcom.stores.gcs`
    abfs://CONN_ID@CONTAINER/PREFIX     `secure_xcom.stores.azure`
    memory://NAME                       one shared store per name in this process, for tests and trials

obstore is imported at the first use, never at import: its network threads do not survive a fork.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from secure_xcom.core.errors import ObjectExists, ObjectMissing, SecureXComError, StoreError
from secure_xcom.core.per_process import PerProcess
from secure_xcom.core.store_errors import StoreUnavailable
from secure_xcom.stores import StoredObject
from secure_xcom.stores.bucket import Bucket, Parts
from secure_xcom.stores.bucket_errors import store_error
from secure_xcom.stores.bucket_uri import memory_name
from secure_xcom.stores.paths import checked_path, checked_prefix
from secure_xcom.stores.size_limit import whole, with_sizes

if TYPE_CHECKING:
    from obstore import BytesStream
    from obstore.store import MemoryStore
    from obstore.store import ObjectStore as Client

PIECE_BYTES = 4 << 20
"""The number of bytes of a streamed get that are in memory at a time."""

WINDOW = 16
"""The number of objects that get_many fetches concurrently. With PIECE_BYTES, it caps read-ahead at 64 MiB."""

DELETE_BATCH = 1000
"""The number of objects that S3 deletes with one request. obstore splits it for Azure (256) and Google (1)."""

_memories: dict[str, MemoryStore] = {}
# The process that started obstore's network threads. A process has one set of them, for all clients.
_network_pid: int | None = None


class ObjectStore:
    """A store in a bucket or in memory. Thread-safe.

    :raises ConfigurationError: the URI is invalid, or its connection cannot be used.
    """

    def __init__(self, uri: str) -> None:
        self._bucket = _bucket(uri)
        self.uri = self._bucket.uri
        self._made = PerProcess(self._bucket.client)

    def put(self, path: str, payload: Iterable[bytes]) -> None:
        """Create the object: up to 8 MiB with one conditional request, otherwise with a multipart upload that is
        completed conditionally or aborted.

        A put whose response was lost is retried and then finds an object. Its own object counts as success.

        :raises ObjectExists: an object with other content already exists at this path.
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
            # A put can only miss the bucket, even if the response does not say so.
            raise StoreUnavailable(
                "the bucket does not exist",
                where=self._at(self.uri),
                remedy="create the bucket, or correct the store URI",
            ) from None

    def get(self, path: str) -> Iterator[bytes]:
        """Return the object in pieces of about 4 MiB.

        :raises ObjectMissing: there is no object at this path.
        """
        checked_path(path, self.uri)
        with self._translated(path):
            answer = self._client().get(path)
            if answer.meta["size"] > PIECE_BYTES:
                return self._stream(answer.stream(min_chunk_size=PIECE_BYTES), path)
            data = bytes(answer.bytes())
        return iter((data,) if data else ())

    def get_many(self, paths: Sequence[str], sizes: Sequence[int] | None = None) -> Iterator[bytes | StoreError]:
        """Yield whole objects, in order. Up to 16 objects of at most 4 MiB are read ahead; a larger one is not."""
        wanted = with_sizes(paths, sizes)
        if len(wanted) < 2:
            yield from (self._whole(*entry) for entry in wanted)
            return
        from concurrent.futures import ThreadPoolExecutor

        threads = ThreadPoolExecutor(min(WINDOW, len(wanted)))
        try:
            waiting = iter(wanted)
            ahead = deque((entry, threads.submit(self._small, *entry)) for entry in islice(waiting, WINDOW))
            while ahead:
                entry, future = ahead.popleft()
                fetched = future.result()
                for following in islice(waiting, 1):
                    ahead.append((following, threads.submit(self._small, *following)))
                yield self._whole(*entry) if fetched is None else fetched
        finally:
            # A reader that stops early, such as an ended task, does not wait for the rest.
            threads.shutdown(wait=False, cancel_futures=True)

    def delete_many(self, paths: Sequence[str]) -> list[StoreError | None]:
        """Delete each. A missing object counts as deleted."""
        answers: list[StoreError | None] = []
        for start in range(0, len(paths), DELETE_BATCH):
            answers += self._delete_batch(paths[start : start + DELETE_BATCH])
        return answers

    def _client(self) -> Client:
        global _network_pid  # noqa: PLW0603  # its threads belong to the process, not to a store
        pid = os.getpid()
        if self._bucket.network and _network_pid not in (None, pid):
            raise StoreUnavailable(
                "this process was forked from a process that had already used a bucket, so it would wait forever",
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
            # Sealed payloads are random bytes, so an equal object is this put's own, from a try whose response was
            # lost.
            if not self._bucket.network or self._whole(path, len(body)) != bytes(body):
                raise

    def _put_large(self, path: str, parts: Parts) -> None:
        try:
            self._bucket.put_large(path, parts)
        except SecureXComError:
            raise
        except Exception as error:
            # An error of the payload's own iterator is not an error of the store.
            if error is parts.error:
                raise
            raise store_error(error, self._at(f"{self.uri}/{path}")) from None

    def _whole(self, path: str, size: int | None) -> bytes | StoreError:
        try:
            return whole(self.get(path), size)
        except StoreError as error:
            return error

    def _small(self, path: str, size: int | None) -> bytes | StoreError | None:
        """Return the object, or None if it is too large to be read ahead."""
        if size is not None and size > PIECE_BYTES:
            return None
        try:
            checked_path(path, self.uri)
            with self._translated(path):
                answer = self._client().get(path)
                if answer.meta["size"] <= PIECE_BYTES:
                    return whole((bytes(answer.bytes()),), size)
                # Larger than expected, or of unknown size.
                return None if size is None else whole(self._stream(answer.stream(PIECE_BYTES), path), size)
        except StoreError as error:
            return error

    def _stream(self, stream: BytesStream, path: str) -> Iterator[bytes]:
        with self._translated(path):
            for piece in stream:
                view = memoryview(piece)
                # The memory store returns an object as one piece, however large; pieces of services are slightly
                # larger.
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

            # A batch reports only its first error, so each path is deleted by itself. But if the store is
            # unavailable, every path would wait as long as the first.
            first = self._delete_batch(paths[:1])
            if isinstance(first[0], StoreUnavailable):
                return first * len(paths)
            with ThreadPoolExecutor(WINDOW) as threads:
                others = threads.map(lambda path: self._delete_batch([path]), paths[1:])
                return [*first, *(answer for (answer,) in others)]
        return [None] * len(paths)

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """Translate errors of obstore, whose messages contain whole responses of the server."""
        try:
            yield
        except SecureXComError:
            raise
        except Exception as error:  # noqa: BLE001  # any error of a foreign library becomes one of ours
            raise store_error(error, self._at(f"{self.uri}/{path}")) from None
        except BaseException as error:
            # A panic in obstore is not an Exception, and neither is the end of the task.
            if type(error).__module__ != "pyo3_runtime":
                raise
            raise store_error(error, self._at(f"{self.uri}/{path}")) from None

    def _at(self, place: str) -> str:
        """Return a place with the endpoint that was asked for it."""
        return f"{place} at {self._bucket.endpoint}" if self._bucket.endpoint else place

    # Last, because after it `list` means this method and not the type.
    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object below the prefix, in no order."""
        prefix = checked_prefix(prefix, self.uri)
        with self._translated(prefix):
            for batch in self._client().list(prefix or None):
                for meta in batch:
                    yield StoredObject(meta["path"], meta["size"], meta["last_modified"])


class _Memory:
    """A bucket in this process's memory."""

    network = False
    endpoint = ""
    attributes: Mapping[str, str] = {}

    def __init__(self, uri: str) -> None:
        self._name = memory_name(uri)
        self.uri = uri

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

"""In-memory doubles of the public interfaces, for tests that are about something else than the real services."""

from __future__ import annotations

import base64
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from cryptography.exceptions import InvalidTag

from secure_xcom.core.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from secure_xcom.core.coordinate import context_bytes
from secure_xcom.core.errors import (
    AuditError,
    KeyServiceError,
    KeyServiceUnavailable,
    KeyVersionUnknown,
    ObjectExists,
    ObjectMissing,
    StoreError,
    UnwrapRefused,
    UriInvalid,
)
from secure_xcom.core.event import Line
from secure_xcom.core.service_errors import KeyServiceDenied
from secure_xcom.core.store_errors import StoreDenied, StoreFull, StoreUnavailable
from secure_xcom.keys import DataKey, Wrap
from secure_xcom.stores import StoredObject
from secure_xcom.stores.paths import checked_path, checked_prefix
from secure_xcom.stores.size_limit import with_sizes

_WRAPPED = re.compile(r"memory:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]{139}=)")


class MemoryKeyService:
    """A key service whose wrapping key is in this object: ``memory-key://NAME``.

    It keeps the promises of `KeyService` (tests/support/key_service_contract.py is run against it), and it can be
    told to fail:

    - ``unavailable = True``: every request raises `KeyServiceUnavailable`;
    - ``denied = True``: every request raises `KeyServiceDenied`;
    - ``failures[wrapped] = error``: that entry's answer is the error, the others are spared;
    - ``forget(version)``: what was wrapped with this version answers `KeyVersionUnknown`.

    ``requests`` counts calls and ``entries`` what was in them, by the method's name. A call that fails counts too.
    """

    def __init__(self, uri: str = "memory-key://test") -> None:
        if not re.fullmatch(r"memory-key://[A-Za-z0-9_-]{1,64}", uri):
            raise UriInvalid("use memory-key://NAME", where=f"key URI {uri!r:.120}")
        self.uri = uri
        self.unavailable = False
        self.denied = False
        self.failures: dict[str, KeyServiceError] = {}
        self.requests: Counter[str] = Counter()
        self.entries: Counter[str] = Counter()
        self._versions: dict[int, bytes] = {}
        self._latest = 0
        self.rotate()

    def __repr__(self) -> str:
        return f"MemoryKeyService({self.uri!r})"

    def rotate(self) -> int:
        """Add a version that wraps from now on, and return its number."""
        self._latest += 1
        self._versions[self._latest] = Cobblestone256Encryptor.generate_key()
        return self._latest

    def forget(self, version: int) -> None:
        """Lose a version's key for good."""
        del self._versions[version]

    def wrap(self, data_key: DataKey, context: Mapping[str, str]) -> str:
        """See `KeyService.wrap`."""
        self._request("wrap", 1)
        return self._wrap(data_key, context)

    def unwrap_many(self, wraps: Sequence[Wrap]) -> list[DataKey | KeyServiceError]:
        """See `KeyService.unwrap_many`."""
        self._request("unwrap_many", len(wraps))
        return [self._unwrap(wrap) for wrap in wraps]

    def rewrap_many(self, wraps: Sequence[Wrap]) -> list[str | KeyServiceError]:
        """See `KeyService.rewrap_many`."""
        self._request("rewrap_many", len(wraps))
        opened = [(self._unwrap(wrap), wrap) for wrap in wraps]
        return [key if isinstance(key, KeyServiceError) else self._wrap(key, wrap.context) for key, wrap in opened]

    def _request(self, method: str, entries: int) -> None:
        self.requests[method] += 1
        self.entries[method] += entries
        if self.unavailable:
            raise KeyServiceUnavailable("the double was told to be unavailable", where=self.uri)
        if self.denied:
            raise KeyServiceDenied("the double was told to deny", where=self.uri)

    def _wrap(self, data_key: DataKey, context: Mapping[str, str]) -> str:
        encryptor = Cobblestone256Encryptor(key=self._versions[self._latest], context=self._context(context))
        sealed = encryptor.update(data_key.secret) + encryptor.finalize()
        return f"memory:v{self._latest}:{base64.b64encode(sealed).decode()}"

    def _unwrap(self, wrap: Wrap) -> DataKey | KeyServiceError:
        if wrap.wrapped in self.failures:
            return self.failures[wrap.wrapped]
        form = _WRAPPED.fullmatch(wrap.wrapped)
        sealed = base64.b64decode(form.group(2)) if form else b""
        if form is None or base64.b64encode(sealed).decode() != form.group(2):
            return UnwrapRefused("malformed", where=self.uri)
        key = self._versions.get(int(form.group(1)))
        if key is None:
            return KeyVersionUnknown(f"no version v{form.group(1)}", where=self.uri)
        try:
            decryptor = Cobblestone256Decryptor(key=key, context=self._context(wrap.context))
            return DataKey(decryptor.update(sealed) + decryptor.finalize())
        except InvalidTag:
            return UnwrapRefused("edited, or of another encryption context", where=self.uri)

    def _context(self, context: Mapping[str, str]) -> bytes:
        return b"memory-key\x00" + context_bytes(context)


class MemoryKeyServices(dict[str, MemoryKeyService]):
    """A chooser to be used in place of `secure_xcom.keys.key_service`: the same URI gives the same double."""

    def __call__(self, uri: str) -> MemoryKeyService:
        if uri not in self:
            self[uri] = MemoryKeyService(uri)
        return self[uri]


class MemoryStore:
    """A store in this object; a test may look into ``objects`` and change what lies there.

    It keeps the promises of `Store` (tests/support/store_contract.py is run against it), and it can be told to
    fail:

    - ``unavailable``, ``denied`` = True: every request raises `StoreUnavailable`, `StoreDenied`;
    - ``full = True``: every put raises `StoreFull`;
    - ``failures[path] = error``: that object's answer is the error, the others are spared.

    ``requests`` counts calls by the method's name. A call that fails counts too.
    """

    PIECE_BYTES = 1 << 20

    def __init__(self, uri: str = "memory-store://test") -> None:
        self.uri = uri
        self.objects: dict[str, bytes] = {}
        self.written: dict[str, datetime] = {}
        self.unavailable = self.denied = self.full = False
        self.failures: dict[str, StoreError] = {}
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()

    def put(self, path: str, payload: Iterable[bytes]) -> None:
        """See `Store.put`."""
        checked_path(path, self.uri)
        self._request("put")
        whole = b"".join(payload)
        if self.full:
            raise StoreFull("the double was told to be full", where=self.uri)
        with self._lock:
            if path in self.objects:
                raise ObjectExists("the object already exists", where=f"{self.uri}/{path}")
            self.objects[path] = whole
            self.written[path] = datetime.now(timezone.utc)

    def get(self, path: str) -> Iterator[bytes]:
        """See `Store.get`."""
        self._request("get")
        whole = self._get(path)
        return (whole[at : at + self.PIECE_BYTES] for at in range(0, len(whole), self.PIECE_BYTES))

    def get_many(self, paths: Sequence[str], sizes: Sequence[int] | None = None) -> Iterator[bytes | StoreError]:
        """See `Store.get_many`."""
        self._request("get_many")
        for path, size in with_sizes(paths, sizes):
            try:
                found = self._get(path)
                yield found if size is None else found[: size + 1]
            except StoreError as error:
                yield error

    def delete_many(self, paths: Sequence[str]) -> list[StoreError | None]:
        """See `Store.delete_many`."""
        self._request("delete_many")
        return [self._delete(path) for path in paths]

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `Store.list`."""
        folder = checked_prefix(prefix, self.uri)
        self._request("list")
        # A copy, because objects may come and go while they are listed.
        for path, whole in self.objects.copy().items():
            if not folder or path.startswith(f"{folder}/"):
                yield StoredObject(path, len(whole), self.written.get(path, datetime.now(timezone.utc)))

    def _request(self, method: str) -> None:
        self.requests[method] += 1
        if self.unavailable:
            raise StoreUnavailable("the double was told to be unavailable", where=self.uri)
        if self.denied:
            raise StoreDenied("the double was told to deny", where=self.uri)

    def _get(self, path: str) -> bytes:
        checked_path(path, self.uri)
        if path in self.failures:
            raise self.failures[path]
        if path not in self.objects:
            raise ObjectMissing("there is no such object", where=f"{self.uri}/{path}")
        return self.objects[path]

    def _delete(self, path: str) -> StoreError | None:
        try:
            checked_path(path, self.uri)
        except StoreError as error:
            return error
        if path in self.failures:
            return self.failures[path]
        self.objects.pop(path, None)
        return None


class MemoryStores(dict[str, MemoryStore]):
    """A chooser to be used in place of `secure_xcom.stores.store`: the same URI gives the same double."""

    def __call__(self, uri: str) -> MemoryStore:
        if uri not in self:
            self[uri] = MemoryStore(uri)
        return self[uri]


class MemorySink:
    """A sink of the access log that keeps its events; ``full = True`` makes it take none."""

    uri = "memory-sink://test"
    costly = False

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.full = False

    @property
    def records(self) -> list[dict[str, Any]]:
        """The events as JSON objects."""
        return [line.record for line in self.lines]

    def write(self, lines: Sequence[Line]) -> None:
        """See `Sink.write`."""
        if self.full:
            raise AuditError("the double was told to be full", where=self.uri)
        self.lines.extend(lines)

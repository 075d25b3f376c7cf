"""In-memory doubles of the public interfaces, for tests that are about something else than the real services."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag

from secure_xcom.coordinate import context_bytes
from secure_xcom.errors import (
    KeyServiceDenied,
    KeyServiceError,
    KeyServiceUnavailable,
    KeyVersionUnknown,
    UnwrapRefused,
    UriInvalid,
)
from secure_xcom.keys import DataKey, Finding, Wrap

_WRAPPED = re.compile(r"memory:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]{139}=)")


class MemoryKeyService:
    """A key service whose wrapping key is in this object: ``memory-key://NAME``.

    It keeps the promises of `KeyService` (tests/key_service_contract.py is run against it), and it can be told to
    fail:

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

    def check(self) -> list[Finding]:
        """See `KeyService.check`."""
        try:
            self._request("check", 0)
        except KeyServiceError as error:
            return [Finding(f"key {self.uri}", "error", error.what, error.remedy)]
        return [Finding(f"key {self.uri}", "ok", f"in memory, newest version v{self._latest}")]

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

"""``vault-kv://CONN_ID/MOUNT/PREFIX``: small sealed payloads in a KV version 2 engine of Vault (or OpenBao).

CONN_ID is an Airflow connection of type Vault, or ``default`` for the environment; it shares its login with the
key URIs that name it. MOUNT is one segment. For a mount with slashes write ``data`` between mount and prefix, as
in Vault's own paths: ``vault-kv://CONN_ID/team/secret/data/PREFIX``.

Permissions: ``create`` on ``MOUNT/data/PREFIX/*`` to push, and with it nothing is ever overwritten; ``read`` there
to pull; ``delete`` on ``MOUNT/metadata/PREFIX/*`` to purge, which destroys all versions; for maintenance ``list``
on ``MOUNT/metadata/PREFIX/*``, ``read`` on data and ``delete`` on metadata.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING

from secure_xcom.connections.vault.client import VaultClient, vault_client
from secure_xcom.core.errors import (
    ObjectExists,
    ObjectMissing,
    PayloadTooLarge,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    VaultDenied,
    VaultLoginRefused,
    VaultTrouble,
    VaultUnreachable,
)
from secure_xcom.stores import StoredObject
from secure_xcom.stores.paths import checked_path, checked_prefix
from secure_xcom.stores.size_limit import whole, with_sizes
from secure_xcom.stores.vault_kv_uri import split_uri

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from secure_xcom.connections.vault.http import Answer

    Wanted = TypeVar("Wanted")
    Result = TypeVar("Result")

PAYLOAD_MAX_BYTES = 256 << 10
"""As base64 in a KV entry about 350 KB: under the entry of Consul (512 KiB) and of Vault's raft (1 MiB)."""

WINDOW = 8
"""How many requests get_many, delete_many and list have under way at a time."""

_FRACTION = re.compile(r"\.(\d{1,6})\d*")


class VaultKv:
    """A store in a KV engine: see the module's text. Safe to be used by several threads.

    :raises UriInvalid: the URI has another form.
    :raises ConfigurationError: the connection or the environment cannot be used.
    """

    def __init__(self, uri: str) -> None:
        conn_id, self._mount, self._prefix = split_uri(uri)
        self.uri = uri
        self._client: VaultClient = vault_client(conn_id)

    def __repr__(self) -> str:
        return f"VaultKv({self.uri!r})"

    def put(self, path: str, payload: Iterable[bytes]) -> None:
        """Create the entry with ``cas=0``: Vault itself refuses to overwrite.

        :raises PayloadTooLarge: over 256 KiB.
        :raises ObjectExists: there is an entry, or a deleted one whose metadata is left.
        """
        checked_path(path, self.uri)
        data = bytearray()
        for piece in payload:
            data += piece
            if len(data) > PAYLOAD_MAX_BYTES:
                raise PayloadTooLarge(
                    f"a payload in Vault KV has at most {PAYLOAD_MAX_BYTES} bytes, this one has more",
                    where=self._where(path),
                )
        body = {"options": {"cas": 0}, "data": {"payload": base64.b64encode(data).decode()}}
        try:
            answer = self._client.call("POST", self._at("data", path), body)
        except VaultTrouble as trouble:
            if trouble.attempts > 1 and self._is_ours(path, data):
                return
            raise self._error(trouble, path, putting=True) from None
        if answer.ok or (answer.attempts > 1 and self._is_ours(path, data)):
            return
        if "check-and-set" in " ".join(answer.errors):
            raise ObjectExists("there is an object already", where=self._where(path))
        raise self._refused(path, answer)

    def _is_ours(self, path: str, data: bytes | bytearray) -> bool:
        """Whether an earlier attempt did write this payload, and only its answer was lost."""
        try:
            return self._whole(path) == data
        except StoreError:
            return False

    def get(self, path: str) -> Iterator[bytes]:
        """The payload, in one piece.

        :raises ObjectMissing: there is none.
        """
        data = self._whole(path)
        return iter((data,) if data else ())

    def get_many(self, paths: Sequence[str], sizes: Sequence[int] | None = None) -> Iterator[bytes | StoreError]:
        """Whole payloads, in order, eight requests at a time. Vault bounds what an entry holds."""
        return self._ahead(with_sizes(paths, sizes), self._try_whole)

    def delete_many(self, paths: Sequence[str]) -> list[StoreError | None]:
        """Destroy each with all its versions and its metadata."""
        return list(self._ahead(paths, self._try_destroy))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every entry below the prefix, in no order. Each is read: Vault's listings say no size and no time."""
        prefix = checked_prefix(prefix, self.uri)
        for found in self._ahead(self._names(prefix), self._described):
            if isinstance(found, StoreError):
                raise found
            if found is not None:
                yield found

    def _names(self, prefix: str) -> Iterator[str]:
        folders = [prefix]
        if prefix:
            yield prefix
        while folders:
            folder = folders.pop()
            with self._in_our_words(folder):
                answer = self._client.call("LIST", self._at("metadata", folder))
            if answer.status == 404 and not answer.errors:
                continue
            if not answer.ok:
                raise self._refused(folder, answer)
            for name in answer.data.get("keys") or ():
                below = f"{folder}/{name}" if folder else str(name)
                if below.endswith("/"):
                    folders.append(below[:-1])
                else:
                    yield below

    def _described(self, path: str) -> StoredObject | StoreError | None:
        try:
            with self._in_our_words(path):
                answer = self._client.call("GET", self._at("data", path))
            metadata = answer.data.get("metadata")
            if not isinstance(metadata, dict):
                # The prefix itself, which is mostly no entry, or one that was destroyed in the meantime.
                return None
            # What others keep below the prefix is not listed, so that nobody takes it for an orphan.
            size = len(self._payload(path, answer)) if answer.ok else 0
            return StoredObject(path, size, _time(str(metadata.get("created_time"))))
        except ObjectMissing:
            return None
        except StoreError as error:
            return error

    def _try_whole(self, wanted: tuple[str, int | None]) -> bytes | StoreError:
        path, size = wanted
        try:
            return whole((self._whole(path),), size)
        except StoreError as error:
            return error

    def _whole(self, path: str) -> bytes:
        checked_path(path, self.uri)
        with self._in_our_words(path):
            answer = self._client.call("GET", self._at("data", path))
        if answer.status == 404 and not answer.errors:
            raise ObjectMissing("there is no such object", where=self._where(path))
        if not answer.ok:
            raise self._refused(path, answer)
        return self._payload(path, answer)

    def _payload(self, path: str, answer: Answer) -> bytes:
        entry = answer.data.get("data")
        text = entry.get("payload") if isinstance(entry, dict) and len(entry) == 1 else None
        try:
            return base64.b64decode(text, validate=True)  # type: ignore[arg-type]  # None is a TypeError
        except (TypeError, ValueError, binascii.Error):
            raise ObjectMissing(
                "there is an entry that is none of ours",
                where=self._where(path),
                remedy="look for who wrote it: the prefix is for secure_xcom alone",
            ) from None

    def _try_destroy(self, path: str) -> StoreError | None:
        try:
            checked_path(path, self.uri)
            with self._in_our_words(path):
                answer = self._client.call("DELETE", self._at("metadata", path))
            if not answer.ok:
                raise self._refused(path, answer)
        except StoreError as error:
            return error
        return None

    def _ahead(self, each: Iterable[Wanted], do: Callable[[Wanted], Result]) -> Iterator[Result]:
        """The results in order, eight under way at a time; who stops early waits for none of them."""
        waiting = iter(each)
        first = list(islice(waiting, 2))
        if len(first) < 2:
            yield from map(do, first)
            return
        threads = ThreadPoolExecutor(WINDOW, thread_name_prefix="vault-kv")
        try:
            ahead = deque(threads.submit(do, one) for one in (*first, *islice(waiting, WINDOW - 2)))
            while ahead:
                result = ahead.popleft().result()
                ahead.extend(threads.submit(do, one) for one in islice(waiting, 1))
                yield result
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _at(self, kind: str, path: str) -> str:
        return f"{self._mount}/{kind}/{self._prefix}/{path}".rstrip("/")

    def _where(self, path: str) -> str:
        return f"{self.uri}/{path}"

    def _refused(self, path: str, answer: Answer) -> StoreError:
        """What a 400, 404 or 405 says."""
        words = " ".join(answer.errors).lower()
        if "too large" in words or "exceeds" in words:
            return PayloadTooLarge("Vault's storage does not take an entry of this size", where=self._where(path))
        if answer.status == 404:
            namespace = self._client.server.namespace
            inside = f" in the namespace {namespace!r:.80}" if namespace else ""
            return StoreUnavailable(
                f"Vault has nothing at the mount {self._mount!r:.80}{inside}",
                where=self._where(path),
                remedy=f"run `vault secrets enable -path={self._mount} -version=2 kv`, or correct the store URI "
                "or the namespace of the connection",
            )
        return StoreError(
            "Vault refuses the request",
            where=self._where(path),
            remedy="see that the mount is of KV version 2 (`vault secrets list -detailed`)",
        )

    @contextmanager
    def _in_our_words(self, path: str) -> Iterator[None]:
        try:
            yield
        except VaultTrouble as trouble:
            raise self._error(trouble, path) from None

    def _error(self, trouble: VaultTrouble, path: str, *, putting: bool = False) -> StoreError:
        at = f"{self._where(path)} at {trouble.where}"
        if isinstance(trouble, VaultDenied):
            # Where an identity may only create, Vault denies a second put to a path as it denies one elsewhere.
            there = ", or there is an object already" if putting else ""
            return StoreDenied(
                f"Vault's policy denies this identity the request{there}",
                where=at,
                remedy="compare the role's policy with the one that `secure-xcom init --vault --dry-run` shows",
            )
        if isinstance(trouble, VaultLoginRefused):
            return StoreDenied(trouble.what, where=at, remedy=trouble.remedy)
        if isinstance(trouble, VaultUnreachable):
            return StoreUnavailable(trouble.what, where=at, remedy=trouble.remedy)
        return StoreError(trouble.what, where=at, remedy=trouble.remedy)


def _time(text: str) -> datetime:
    """RFC 3339 with nanoseconds, as Go writes it."""
    try:
        found = datetime.fromisoformat(
            _FRACTION.sub(lambda match: f".{match[1]:0<6}", text).replace("Z", "+00:00")
        )
    except ValueError:
        return datetime.fromtimestamp(0, timezone.utc)
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)

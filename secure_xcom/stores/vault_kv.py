"""``vault-kv://CONN_ID/MOUNT/PREFIX``: small sealed payloads in a KV version 2 engine of Vault (or OpenBao).

URI: CONN_ID is an Airflow connection of type Vault, or ``default`` for the environment. It shares its login with
the key URIs that name it. MOUNT is one segment. For a mount with slashes, write ``data`` between mount and prefix,
as in Vault's own paths: ``vault-kv://CONN_ID/team/secret/data/PREFIX``.

Environment: with ``default``, as for `secure_xcom.keys.vault`.

Permissions: ``create`` on ``MOUNT/data/PREFIX/*`` to push, which cannot overwrite; ``read`` there
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
from secure_xcom.core.errors import ObjectExists, ObjectMissing, StoreError
from secure_xcom.core.service_errors import PayloadTooLarge
from secure_xcom.core.setup_commands import vault_preview
from secure_xcom.core.store_errors import StoreDenied, StoreUnavailable
from secure_xcom.core.vault_errors import VaultDenied, VaultLoginRefused, VaultTrouble, VaultUnreachable
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
"""About 350 KB as base64 in a KV entry: below the limits of Consul (512 KiB) and of Vault's raft (1 MiB)."""

WINDOW = 8
"""The number of concurrent requests of get_many, delete_many and list."""

_FRACTION = re.compile(r"\.(\d{1,6})\d*")


class VaultKv:
    """A store in a KV engine: see the module's docstring. Thread-safe.

    :raises UriInvalid: the URI is invalid.
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

        :raises PayloadTooLarge: the payload is over 256 KiB.
        :raises ObjectExists: there is an entry, or the metadata of a deleted one.
        """
        checked_path(path, self.uri)
        data = bytearray()
        for piece in payload:
            data += piece
            if len(data) > PAYLOAD_MAX_BYTES:
                raise PayloadTooLarge(
                    f"the payload is over the limit of {PAYLOAD_MAX_BYTES} bytes for Vault KV",
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
            raise ObjectExists("the object already exists", where=self._where(path))
        raise self._refused(path, answer)

    def _is_ours(self, path: str, data: bytes | bytearray) -> bool:
        """Check whether an earlier attempt wrote this payload, and only its response was lost."""
        try:
            return self._whole(path) == data
        except StoreError:
            return False

    def get(self, path: str) -> Iterator[bytes]:
        """Return the payload, in one piece.

        :raises ObjectMissing: there is no object at this path.
        """
        data = self._whole(path)
        return iter((data,) if data else ())

    def get_many(self, paths: Sequence[str], sizes: Sequence[int] | None = None) -> Iterator[bytes | StoreError]:
        """Yield whole payloads, in order, with eight concurrent requests. Vault limits the size of an entry."""
        return self._ahead(with_sizes(paths, sizes), self._try_whole)

    def delete_many(self, paths: Sequence[str]) -> list[StoreError | None]:
        """Destroy each with all its versions and its metadata."""
        return list(self._ahead(paths, self._try_destroy))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every entry below the prefix, in no order. Each is read: listings have no sizes or times."""
        prefix = checked_prefix(prefix, self.uri)
        for entry in self._ahead(self._names(prefix), self._described):
            if isinstance(entry, StoreError):
                raise entry
            if entry is not None:
                yield entry

    def _names(self, prefix: str) -> Iterator[str]:
        folders = [prefix]
        if prefix:
            yield prefix
        while folders:
            folder = folders.pop()
            with self._translated(folder):
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
            with self._translated(path):
                answer = self._client.call("GET", self._at("data", path))
            metadata = answer.data.get("metadata")
            if not isinstance(metadata, dict):
                # The prefix itself, which is usually not an entry, or an entry that was destroyed meanwhile.
                return None
            # Entries of other programs below the prefix are not listed, so that nobody mistakes them for orphans.
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
        with self._translated(path):
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
                "the entry is not a payload of secure_xcom",
                where=self._where(path),
                remedy="find out who wrote it: only secure_xcom may use the prefix",
            ) from None

    def _try_destroy(self, path: str) -> StoreError | None:
        try:
            checked_path(path, self.uri)
            with self._translated(path):
                answer = self._client.call("DELETE", self._at("metadata", path))
            if not answer.ok:
                raise self._refused(path, answer)
        except StoreError as error:
            return error
        return None

    def _ahead(self, each: Iterable[Wanted], do: Callable[[Wanted], Result]) -> Iterator[Result]:
        """Yield the results in order, with eight concurrent calls. A reader that stops early waits for none."""
        waiting = iter(each)
        first = list(islice(waiting, 2))
        if len(first) < 2:
            yield from map(do, first)
            return
        threads = ThreadPoolExecutor(WINDOW, thread_name_prefix="vault-kv")
        try:
            ahead = deque(threads.submit(do, entry) for entry in (*first, *islice(waiting, WINDOW - 2)))
            while ahead:
                result = ahead.popleft().result()
                ahead.extend(threads.submit(do, entry) for entry in islice(waiting, 1))
                yield result
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _at(self, kind: str, path: str) -> str:
        return f"{self._mount}/{kind}/{self._prefix}/{path}".rstrip("/")

    def _where(self, path: str) -> str:
        return f"{self.uri}/{path}"

    def _refused(self, path: str, answer: Answer) -> StoreError:
        """Return the error for a 400, 404 or 405 response."""
        words = " ".join(answer.errors).lower()
        if "too large" in words or "exceeds" in words:
            return PayloadTooLarge(
                "Vault's storage does not accept an entry of this size", where=self._where(path)
            )
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
            remedy="check that the mount is of KV version 2 (`vault secrets list -detailed`)",
        )

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except VaultTrouble as trouble:
            raise self._error(trouble, path) from None

    def _error(self, trouble: VaultTrouble, path: str, *, putting: bool = False) -> StoreError:
        where = f"{self._where(path)} at {trouble.where}"
        if isinstance(trouble, VaultDenied):
            # If an identity may only create, Vault denies a second put to a path like any other denied put.
            there = ", or the object already exists" if putting else ""
            return StoreDenied(
                f"Vault's policy denies this identity the request{there}",
                where=where,
                remedy=f"check the mount {self._mount!r:.80} in the store URI for a typo: Vault gives the "
                "same answer for one that does not exist, and `vault secrets list` shows an operator all "
                "mounts; if it is "
                f"right, compare the role's policy with the one that {vault_preview()} shows",
            )
        if isinstance(trouble, VaultLoginRefused):
            return StoreDenied(trouble.what, where=where, remedy=trouble.remedy)
        if isinstance(trouble, VaultUnreachable):
            return StoreUnavailable(trouble.what, where=where, remedy=trouble.remedy)
        return StoreError(trouble.what, where=where, remedy=trouble.remedy)


def _time(text: str) -> datetime:
    """Return the time of an RFC 3339 text with nanoseconds, as Go writes it."""
    try:
        moment = datetime.fromisoformat(
            _FRACTION.sub(lambda match: f".{match[1]:0<6}", text).replace("Z", "+00:00")
        )
    except ValueError:
        return datetime.fromtimestamp(0, timezone.utc)
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)

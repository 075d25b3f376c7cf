"""Stores: where sealed payloads lie. One interface, chosen by the store URI.

A store sees ciphertext only and never a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from secure_xcom.core.errors import StoreError, UriInvalid


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of a listing: its path below the store's prefix, its size in bytes, when it was written."""

    path: str
    size: int
    modified: datetime


class Store(Protocol):
    """Create-only storage of sealed payloads. Every method raises only errors of our tree.

    Paths are those of `secure_xcom.core.coordinate.object_path`: relative to the store's prefix.
    """

    uri: str

    def put(self, path: str, payload: Iterable[bytes]) -> None:
        """Create the object from its pieces, never overwrite; all of it is there, or nothing is.

        :raises ObjectExists: there is an object at this path already.
        """

    def get(self, path: str) -> Iterator[bytes]:
        """The object's bytes in pieces, in order. Memory stays bounded by a piece.

        :raises ObjectMissing: there is none.
        """

    def get_many(self, paths: Sequence[str], sizes: Sequence[int] | None = None) -> Iterator[bytes | StoreError]:
        """Whole objects, in order, fetched concurrently within a bounded window.

        What is wrong with one object stands in its place.

        :param sizes: how many bytes each object is to have. Of one that is longer, that many and one more are
            given, so that its reader refuses it, and nobody holds what a stranger has put there.
        """

    def delete_many(self, paths: Sequence[str]) -> list[StoreError | None]:
        """Delete each; an object that is not there counts as deleted. One answer per path."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose path starts with the prefix, which ends at a segment's end."""


def store(uri: str) -> Store:
    """The store that a store URI names.

    :raises UriInvalid: no store has this scheme.
    """
    scheme, separator, _ = uri.partition("://")
    if separator and scheme == "file":
        from secure_xcom.stores.files import FileStore

        return FileStore(uri)
    if separator and scheme in ("s3", "gs", "abfs", "memory"):
        from secure_xcom.stores.object_store import ObjectStore

        return ObjectStore(uri)
    if separator and scheme == "vault-kv":
        from secure_xcom.stores.vault_kv import VaultKv

        return VaultKv(uri)
    raise UriInvalid(
        f"no store has the scheme {scheme!r:.40}",
        where=f"store URI {uri!r:.120}",
        remedy="use file:///path, s3://, gs:// or abfs://conn_id@bucket/prefix, or vault-kv://conn_id/mount/path",
    )

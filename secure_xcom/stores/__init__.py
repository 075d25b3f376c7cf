"""Stores of sealed payloads. One interface, chosen by the store URI.

A store sees only ciphertext and never a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from secure_xcom.core.errors import StoreError
from secure_xcom.core.load_adapter import load

IMPLEMENTATIONS = {
    "file": "secure_xcom.stores.files:FileStore",
    **dict.fromkeys(("s3", "gs", "abfs", "memory"), "secure_xcom.stores.object_store:ObjectStore"),
    "vault-kv": "secure_xcom.stores.vault_kv:VaultKv",
}
"""The store of each scheme of a store URI."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of a listing: its path below the store's prefix, its size in bytes, and when it was written."""

    path: str
    size: int
    modified: datetime


class Store(Protocol):
    """Create-only storage of sealed payloads. Every method raises only errors of our tree.

    Paths are those of `secure_xcom.core.coordinate.object_path`: relative to the store's prefix.
    """

    uri: str

    def put(self, path: str, payload: Iterable[bytes]) -> None:
        """Create the object from its pieces, atomically. Never overwrite.

        :raises ObjectExists: an object already exists at this path.
        """

    def get(self, path: str) -> Iterator[bytes]:
        """Return the object's bytes in pieces, in order. At most one piece is in memory.

        :raises ObjectMissing: there is no object at this path.
        """

    def get_many(self, paths: Sequence[str], sizes: Sequence[int] | None = None) -> Iterator[bytes | StoreError]:
        """Yield whole objects, in order, fetched concurrently within a bounded window.

        The error of one object stands in its place.

        :param sizes: the expected size of each object in bytes. Of a longer object, one byte more is returned, so
            that its reader refuses it without reading all of it.
        """

    def delete_many(self, paths: Sequence[str]) -> list[StoreError | None]:
        """Delete each. A missing object counts as deleted. Return one result per path."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose path starts with the prefix, which ends at the end of a segment."""


def store(uri: str) -> Store:
    """Return the store that a store URI names.

    :raises UriInvalid: no store has this scheme.
    """
    scheme, separator, _ = uri.partition("://")
    factory: Callable[[str], Store] | None = load(IMPLEMENTATIONS, scheme) if separator else None
    if factory is None:
        from secure_xcom.core.uri_faults import unknown_scheme

        raise unknown_scheme("store", scheme if separator else "", f"store URI {uri!r:.120}")
    return factory(uri)

"""Opening a reference outside of a task: to hold a sealed value against the old one, to leave the product, to look
at one value in an emergency.

It is the pipeline's way back without a consumer, so it asks nothing of the access policy's readers: who runs it
needs rights of their own at the key service and the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from secure_xcom.core.access_policy import Compartment
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.errors import ClaimRefused, ContextRefused
from secure_xcom.core.pipeline.fetch import fetch, payload_of
from secure_xcom.core.pipeline.open_payload import openable, opened
from secure_xcom.core.reference import Reference
from secure_xcom.keys import KeyService
from secure_xcom.keys.data_keys import DataKeys, Unwrapped
from secure_xcom.stores import Store


class Opener:
    """Opens references. It keeps no data key for longer than one page of rows.

    :param to_structure: Airflow's ``serialize``, for values that were pushed by a codec of their own.
    """

    def __init__(
        self,
        to_structure: Callable[[object], object],
        *,
        services: Callable[[str], KeyService],
        stores: Callable[[str], Store],
        max_bytes: int,
    ) -> None:
        self.max_bytes = max_bytes
        self._keys = DataKeys(0, 0, services)
        self._codecs = Codecs(lambda value: value, lambda structure: structure)
        self._to_structure = to_structure
        self.store: Callable[[str], Store] = cache(stores)
        """The store of a URI, opened once."""

    def fetch(
        self, reference: Reference, compartment: Compartment, *, where: str, expired: bool = False
    ) -> tuple[Unwrapped, Iterable[bytes]]:
        """Return the data key and the sealed payload of a reference, after the checks that apply to every reader.

        :param expired: whether a legal hold overrides its retention.
        :raises ReferenceRefused, ContextRefused, ValueTooLarge: it is not to be opened.
        :raises ClaimRefused: it is exclusive, so that one task instance may read it and nobody here.
        :raises SecureXComError: no key service unwraps its key, or its store cannot be opened.
        """
        checked = openable(reference, compartment, max_bytes=self.max_bytes, where=where, expired=expired)
        if reference.head.exclusive is not None:
            raise ClaimRefused(
                "it is exclusive: one task instance may read it, and no operator",
                where=where,
                remedy="clear the producing task, and let it push what is needed without the mark",
            )
        payload = payload_of(reference, checked.place, self.store)
        fetched = fetch([payload], [checked.candidates], self._keys)
        (key,) = fetched.keys
        if not isinstance(key, Unwrapped):
            raise key or ContextRefused("the reference has no key", where=where)
        return key, next(fetched.payloads)

    def open(self, reference: Reference, key: Unwrapped, sealed: Iterable[bytes], where: str) -> bytes:
        """Return the encoded value, whole and authenticated.

        :raises SecureXComError: its payload is missing, or does not open.
        """
        return opened(reference, key.data_key.secret, sealed, max_bytes=self.max_bytes, where=where)

    def structure(self, reference: Reference, data: bytes, where: str) -> object:
        """The value as the plain structure that the stock backend would have kept.

        :raises SecureXComError: it cannot be decoded, or not be kept so.
        """
        codec = reference.head.codec
        value, structure, _ = self._codecs.decode(codec, data, max_bytes=self.max_bytes, where=where)
        return structure if codec == "json" else self._to_structure(value)

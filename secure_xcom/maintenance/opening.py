"""Opening a reference outside of a task: to hold a sealed value against the old one, to leave the product, to look
at one value in an emergency.

It is the pipeline's way back without a consumer, so it asks nothing of the access policy's readers: who runs it
needs rights of their own at the key service and the store.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from secure_xcom import codecs
from secure_xcom.access import Compartment
from secure_xcom.admission import place_within
from secure_xcom.codecs import Codecs
from secure_xcom.coordinate import encryption_context
from secure_xcom.errors import ContextRefused, SecureXComError
from secure_xcom.keys import KeyService, openers
from secure_xcom.keys.holder import Candidates, DataKeys, Unwrapped
from secure_xcom.maintenance.references import Found
from secure_xcom.reference import Reference
from secure_xcom.seal import unseal
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

    def unwrap(self, reference: Reference, compartment: Compartment, where: str) -> Unwrapped:
        """The data key, from the first of the compartment's keys that gives it.

        :raises ContextRefused: none of the reference's keys is one of the compartment's.
        :raises SecureXComError: no key service gives it.
        """
        wraps = openers(compartment.all_key_uris, [(key.uri, key.wrapped) for key in reference.keys])
        if not wraps:
            raise ContextRefused(f"none of its keys belongs to compartment {compartment.name!r}", where=where)
        context = encryption_context(compartment.name, reference.head.coordinate)
        (key,) = self._keys.unwrap_many([Candidates(wraps, context)])
        if isinstance(key, SecureXComError):
            raise key
        return key

    def data(self, reference: Reference, compartment: Compartment, key: Unwrapped, where: str) -> bytes:
        """The encoded value, whole and authenticated.

        :raises SecureXComError: the payload is not there, or does not open.
        """
        place = place_within(reference, compartment, where)
        pieces = iter((reference.payload or b"",)) if place is None else self.store(place[0]).get(place[1])
        opened = unseal(
            key.data_key.secret,
            reference.head.canonical(),
            pieces,
            header=reference.header,
            size=reference.size,
            where=where,
        )
        return codecs.decompress(opened, reference.head.compression, max_bytes=self.max_bytes, where=where)

    def structure(self, found: Found, key: Unwrapped) -> object:
        """The value as the plain structure that the stock backend would have kept.

        :raises SecureXComError: it does not open.
        """
        reference, where = found.reference, found.row.where
        data = self.data(reference, found.compartment, key, where)
        value, structure, _ = self._codecs.decode(
            reference.head.codec, data, max_bytes=self.max_bytes, where=where
        )
        return structure if reference.head.codec == "json" else self._to_structure(value)

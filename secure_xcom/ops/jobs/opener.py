"""Open references outside of a task: for migrate, migrate-back and break-glass access.

It is the pipeline's pull without a consumer, so it does not check the access policy's readers: whoever runs it
needs rights of their own at the key service and the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.claim_errors import ClaimRefused
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import ContextRefused, ValueNotSerialisable
from secure_xcom.core.pipeline.fetch import fetch, payload_of
from secure_xcom.core.pipeline.open_payload import Openable, openable, opened
from secure_xcom.core.pipeline.push_and_pull import Pipeline
from secure_xcom.core.reference import Reference
from secure_xcom.deployment import Deployment
from secure_xcom.keys import KeyService, key_service
from secure_xcom.keys.data_keys import DataKeys, Unwrapped
from secure_xcom.stores import Store, store


class Opener:
    """Opens references. It caches no data key.

    :param to_structure: Airflow's ``serialize``, for values that were pushed with another codec than JSON.
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
        self._codecs = _structure_codecs()
        self._to_structure = to_structure
        self.store: Callable[[str], Store] = cache(stores)
        """Returns the store of a URI, opened once."""

    def fetch(
        self, reference: Reference, compartment: Compartment, *, where: str, expired: bool = False
    ) -> tuple[Unwrapped, Iterable[bytes]]:
        """Return the data key and the sealed payload of a reference, after the checks that apply to every reader.

        :param expired: whether a legal hold overrides its retention.
        :raises ReferenceRefused, ContextRefused, ValueTooLarge: it may not be opened.
        :raises ClaimRefused: it is exclusive, so only one task instance may read it.
        :raises SecureXComError: no key service unwraps its key, or its store cannot be opened.
        """
        checked = openable(reference, compartment, max_bytes=self.max_bytes, where=where, expired=expired)
        if reference.head.exclusive is not None:
            raise ClaimRefused(
                "it is exclusive: only one task instance may read it, and no operator",
                where=where,
                remedy="clear the producing task, and let it push the value without marking it exclusive",
            )
        return fetch_one(reference, checked, self._keys, self.store, where)

    def open(self, reference: Reference, key: Unwrapped, sealed: Iterable[bytes], where: str) -> bytes:
        """Return the encoded value, whole and authenticated.

        :raises SecureXComError: its payload is missing, or does not open.
        """
        return opened(reference, key.data_key.secret, sealed, max_bytes=self.max_bytes, where=where)

    def structure(self, reference: Reference, data: bytes, where: str) -> object:
        """Return the value as the plain structure that Airflow's own backend would have stored.

        :raises SecureXComError: it cannot be decoded, or cannot be stored in this form.
        """
        codec = reference.head.codec
        value, structure, _ = self._codecs.decode(codec, data, max_bytes=self.max_bytes, where=where)
        return structure if codec == "json" else self._to_structure(value)


def fetch_one(
    reference: Reference, checked: Openable, keys: DataKeys, open_store: Callable[[str], Store], where: str
) -> tuple[Unwrapped, Iterable[bytes]]:
    """Return the data key and the sealed payload of one reference that was checked.

    :raises SecureXComError: no key service unwraps its key, or its store cannot be opened.
    """
    fetched = fetch([payload_of(reference, checked.place, open_store)], [checked.candidates], keys)
    (key,) = fetched.keys
    if not isinstance(key, Unwrapped):
        raise key or ContextRefused("the reference has no key", where=where)
    return key, next(fetched.payloads)


def structure_pipeline(deployment: Deployment) -> Pipeline:
    """Return a pipeline for the values of rows, which Airflow has serialized already: they are sealed as they are.

    No class is loaded, and nothing is registered with a masker.
    """
    return deployment.pipeline(_structure_codecs(), register=lambda _: None)


def sealed_value_opener(settings: Settings) -> Opener:
    """Return what opens the values of rows."""
    return Opener(_serialized, services=key_service, stores=store, max_bytes=settings.max_bytes)


def _structure_codecs() -> Codecs:
    return Codecs(lambda value: value, lambda structure: structure)


def _serialized(value: Any) -> Any:
    from airflow.sdk.bases.xcom import BaseXCom

    try:
        return BaseXCom.serialize_value(value)
    except Exception as error:  # noqa: BLE001  # a class's own serialize may raise anything, and quote the value
        raise ValueNotSerialisable(
            f"Airflow's own backend cannot store a value of type {type(value).__qualname__} "
            f"({type(error).__name__})"
        ) from None

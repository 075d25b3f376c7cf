"""The part of an XCom that the page is given: sealed bytes for the browser, or the opened value.

The two are the only difference between the modes once it is decided that a person may see an XCom.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Protocol

from secure_xcom.core.errors import ContextRefused, PayloadSwapped, PayloadTruncated
from secure_xcom.core.pipeline.fetch import payload_of
from secure_xcom.core.pipeline.open_payload import Openable, opened
from secure_xcom.core.reference import HEADER_BYTES, Reference
from secure_xcom.keys import KeyService, KeyUri, key_service
from secure_xcom.keys.data_keys import Candidates, DataKeys
from secure_xcom.keys.vault import split_uri
from secure_xcom.keys.vault_context import transit_context
from secure_xcom.ops.jobs.opener import fetch_one
from secure_xcom.stores import Store, store
from secure_xcom.stores.read_many import read_all
from secure_xcom.stores.size_limit import whole

if TYPE_CHECKING:
    from secure_xcom.sinks.recording import Draft


@dataclass(frozen=True, slots=True)
class TransitWrap:
    """A wrapped data key as the person's browser hands it to Vault: ``POST MOUNT/decrypt/KEY``."""

    mount: str
    key: str
    wrapped: str = field(repr=False)
    context: str

    def record(self) -> dict[str, str]:
        """Return it as JSON."""
        return {"mount": self.mount, "key": self.key, "wrapped": self.wrapped, "context": self.context}


@dataclass(frozen=True, slots=True)
class Given:
    """The bytes that the page is given.

    :ivar body: the sealed bytes, which a browser opens with one of ``wraps``; or the encoded value.
    :ivar is_open: whether it is the value.
    """

    body: bytes = field(repr=False)
    is_open: bool
    wraps: tuple[TransitWrap, ...] = ()


class Giver(Protocol):
    """Gets what the page is given. Threads share it."""

    def give(self, reference: Reference, checked: Openable, max_bytes: int, draft: Draft, where: str) -> Given:
        """Return what the page is given of a reference that was checked.

        :param max_bytes: the largest value. :param draft: the event, which is told which key opened it.
        :raises SecureXComError: it cannot be fetched or opened.
        """


class SealedBytes:
    """Gives sealed bytes and the wraps by Vault's keys: the person's browser opens them. It has no key.

    :param stores: store URI -> store.
    """

    def __init__(self, stores: Callable[[str], Store] = store) -> None:
        self._store: Callable[[str], Store] = cache(stores)

    def give(self, reference: Reference, checked: Openable, max_bytes: int, draft: Draft, where: str) -> Given:  # noqa: ARG002  # the interface's
        """See `Giver.give`."""
        wraps = transit_wraps(checked.candidates, where)
        return Given(_sealed(reference, checked, self._store, where), is_open=False, wraps=wraps)


class OpenedValue:
    """Unwraps with this process's own rights, and gives the encoded value. It caches no data key.

    :param services: key URI -> key service. :param stores: store URI -> store.
    """

    def __init__(
        self, services: Callable[[str], KeyService] = key_service, stores: Callable[[str], Store] = store
    ) -> None:
        self._keys = DataKeys(0, 0, services)
        self._store: Callable[[str], Store] = cache(stores)

    def give(self, reference: Reference, checked: Openable, max_bytes: int, draft: Draft, where: str) -> Given:
        """See `Giver.give`."""
        key, sealed = fetch_one(reference, checked, self._keys.of_another_task(), self._store, where)
        draft.opened_by, draft.cache_hit = key.uri, key.cached
        value = opened(reference, key.data_key.secret, sealed, max_bytes=max_bytes, where=where)
        return Given(value, is_open=True)


def transit_wraps(candidates: Candidates, where: str) -> tuple[TransitWrap, ...]:
    """Return the wraps that a browser may have: those by Vault keys of the compartment.

    :raises ContextRefused: there are none.
    """
    wraps = []
    for uri, wrapped in candidates.wraps:
        if uri.startswith("vault://"):
            _, mount, key, _ = split_uri(KeyUri.parse(uri).service)
            context = base64.b64encode(transit_context(candidates.context)).decode()
            wraps.append(TransitWrap(mount, key, wrapped, context))
    if not wraps:
        raise ContextRefused(
            "no key of Vault wrapped its data key, so no browser can open it",
            where=where,
            remedy="use `secure-xcom open`, or run `secure-xcom reveal --opens` for keys that are not in Vault",
        )
    return tuple(dict.fromkeys(wraps))


def _sealed(reference: Reference, checked: Openable, open_store: Callable[[str], Store], where: str) -> bytes:
    """Return the sealed payload, no longer than its reference says.

    :raises PayloadSwapped, PayloadTruncated: it is another one; :raises StoreError: the store does not give it.
    """
    (pieces,) = read_all([payload_of(reference, checked.place, open_store)])
    payload = whole(pieces, reference.size)
    if payload[:HEADER_BYTES] != reference.header:
        raise PayloadSwapped("the store holds another payload than the reference was made for", where=where)
    if len(payload) != reference.size:
        raise PayloadTruncated("the payload has another size than its reference says", where=where)
    return payload

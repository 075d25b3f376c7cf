"""Reveal one XCom: the order of the checks, written once.

rate -> viewers -> row -> head -> retention, exclusive, size, own store and keys -> payload -> event -> answer

The viewers come before the row, so that nobody else learns whether there is an XCom. The payload is fetched before
the event is written, and leaves the process only after it: so the event says how it ended. A refusal is an event
as well, and an access log that takes no event ends in an error without any bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from secure_xcom.core.errors import ClaimRefused, ContextRefused, PayloadSwapped, PayloadTruncated
from secure_xcom.core.masking.preview_names import has_sensitive_name
from secure_xcom.core.pipeline.fetch import payload_of
from secure_xcom.core.pipeline.open_payload import Openable, key_uses, openable
from secure_xcom.core.pipeline.push_routing import mask_mode
from secure_xcom.core.reference import HEADER_BYTES, Reference
from secure_xcom.keys import KeyUri
from secure_xcom.keys.data_keys import Candidates
from secure_xcom.keys.vault import split_uri
from secure_xcom.keys.vault_context import transit_context
from secure_xcom.ops.jobs.eligible_rows import check_compartment
from secure_xcom.reveal.rate import RateLimit
from secure_xcom.reveal.rows import asked_of, reference_of
from secure_xcom.sinks import Draft, recording
from secure_xcom.stores import Store, store
from secure_xcom.stores.read_many import read_all
from secure_xcom.stores.size_limit import whole

if TYPE_CHECKING:
    from secure_xcom.core.access_policy import AccessPolicy
    from secure_xcom.core.access_policy.interface import Rules
    from secure_xcom.core.config import Settings
    from secure_xcom.core.masking import SensitiveNames
    from secure_xcom.ops.xcom_table import Database
    from secure_xcom.reveal.identity import Person
    from secure_xcom.reveal.request import RevealRequest
    from secure_xcom.sinks import AccessLog

MAX_BYTES = 8 << 20
"""The largest value that is revealed. For a larger one there is `secure-xcom open`."""


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
class Revealed:
    """An XCom that may be given out: the access log has recorded it.

    :ivar event: the id of the event; :ivar payload: the sealed bytes.
    """

    event: str
    person: str
    compartment: str
    rule: str
    reference: Reference
    wraps: tuple[TransitWrap, ...]
    payload: bytes = field(repr=False)
    mask_all: bool

    def record(self, sensitive: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer as JSON, but for the payload, which is sent in pieces.

        :param sensitive: which names of fields are sensitive, from `sensitive_record`.
        """
        return {
            "event": self.event,
            "person": self.person,
            "compartment": self.compartment,
            "rule": self.rule,
            "head": self.reference.head.dump(),
            "seal": {"header": base64.b64encode(self.reference.header).decode(), "size": self.reference.size},
            "wraps": [wrap.record() for wrap in self.wraps],
            "data": None,
            "sensitive": {**sensitive, "all": self.mask_all},
            "expires": self.reference.head.expires,
        }


class Revealer:
    """Reveals XComs to persons whose identity was proved. Threads may share it.

    :param stores: store URI -> store.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        access_log: AccessLog,
        names: SensitiveNames,
        *,
        rate: RateLimit | None = None,
        stores: Callable[[str], Store] = store,
    ) -> None:
        self._settings = settings
        self._database = database
        self._access_log = access_log
        self._names = names
        self._rate = rate or RateLimit()
        self._store: Callable[[str], Store] = cache(stores)

    def reveal(self, policy: AccessPolicy, person: Person, request: RevealRequest) -> Revealed:
        """Return the sealed bytes and the wraps of an XCom, once the access log has the event.

        :raises SecureXComError: it is refused, or cannot be done; the access log has that as well.
        """
        where = str(request.coordinate)
        excess = self._rate.count(person.name)
        if excess is not None and not excess.first:
            raise excess.error
        draft = Draft(asked=asked_of(request), operator=person.name, reason=request.reason)
        with recording(self._access_log, "reveal", [draft], task=None, policy=policy.digest) as record:
            if excess is not None:
                raise excess.error
            verdict = policy.viewer_of(request.coordinate, person.groups)
            draft.decided(verdict)
            compartment = verdict.enforce()
            reference, preview = reference_of(self._database, request)
            draft.refers(reference, key_uses(reference))
            draft.sensitive = has_sensitive_name(reference.head.key, preview, self._names)
            check_compartment(reference.head, policy)
            checked = _checked(reference, compartment, min(MAX_BYTES, self._settings.max_bytes), where)
            wraps = transit_wraps(checked.candidates, where)
            payload = _sealed(reference, checked, self._store, where)
        return Revealed(
            record.ids[0],
            person.name,
            compartment.name,
            verdict.rule,
            reference,
            wraps,
            payload,
            mask_mode([compartment], self._settings.mask_values) == "all",
        )


def _checked(reference: Reference, compartment: Rules, max_bytes: int, where: str) -> Openable:
    """Check what holds for every reader, and that the XCom is not exclusive.

    :raises SecureXComError: as `openable`; :raises ClaimRefused: it is exclusive.
    """
    checked = openable(reference, compartment, max_bytes=max_bytes, where=where)
    if reference.head.exclusive is not None or compartment.is_exclusive(reference.head.key):
        raise ClaimRefused(
            "it is exclusive: only one task instance may read it, and no person",
            where=where,
            remedy="clear the producing task, and let it push the value without the exclusive mark",
        )
    return checked


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


def sensitive_record(names: SensitiveNames, settings: Settings) -> dict[str, list[str]]:
    """Return what tells the page which fields to mask at first, as JSON: the value's names are not known here."""
    return {
        "names": sorted(names.names),
        "listed": sorted(names.listed),
        "exceptions": sorted(settings.not_sensitive_names),
    }

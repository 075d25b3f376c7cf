"""Reveal one XCom: the order of the checks, written once.

rate -> viewers -> row -> head -> retention, exclusive, size, own store and keys -> bytes -> event -> answer

The viewers come before the row, so that nobody else learns whether there is an XCom. The bytes are fetched before
the event is written, and leave the process only after it: so the event says how it ended. A refusal is an event
as well, and an access log that takes no event ends in an error without any bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from secure_xcom.core.access_policy.viewers import judge_viewer
from secure_xcom.core.claim_errors import ClaimRefused
from secure_xcom.core.masking.preview_names import has_sensitive_name
from secure_xcom.core.pipeline.open_payload import Openable, key_uses, openable
from secure_xcom.core.pipeline.push_routing import mask_mode
from secure_xcom.core.reference import Reference
from secure_xcom.ops.jobs.eligible_rows import check_compartment
from secure_xcom.reveal.giving import Given, Giver, SealedBytes
from secure_xcom.reveal.rate import RateLimit
from secure_xcom.reveal.row_reader import asked_of, reference_of
from secure_xcom.sinks.recording import Draft, recording

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.interface import Rules
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.core.access_policy.verdict import Verdict
    from secure_xcom.core.config import Settings
    from secure_xcom.core.coordinate import Coordinate
    from secure_xcom.core.masking.sensitive_names import SensitiveNames
    from secure_xcom.ops.xcom_table import Database
    from secure_xcom.reveal.identity_tokens import Person
    from secure_xcom.reveal.request import RevealRequest
    from secure_xcom.sinks.access_log import AccessLog

MAX_BYTES = 8 << 20
"""The largest value that is revealed. For a larger one there is `secure-xcom open`."""

Decide: TypeAlias = "Callable[[AccessPolicy, Coordinate, Person], Verdict]"
"""Decides whether a person may see an XCom."""


@dataclass(frozen=True, slots=True)
class Revealed:
    """An XCom that may be given out: the access log has recorded it.

    :ivar event: the id of the event.
    """

    event: str
    person: str
    compartment: str
    rule: str
    reference: Reference
    given: Given = field(repr=False)
    mask_all: bool

    def record(self, sensitive: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer as JSON, without ``given.body``, which is sent behind it as ``payload`` or ``data``.

        :param sensitive: which names of fields are sensitive, from `sensitive_record`.
        """
        return {
            "event": self.event,
            "person": self.person,
            "compartment": self.compartment,
            "rule": self.rule,
            "head": self.reference.head.dump(),
            "seal": {"header": base64.b64encode(self.reference.header).decode(), "size": self.reference.size},
            "wraps": [wrap.record() for wrap in self.given.wraps],
            "data" if not self.given.is_open else "payload": None,
            "sensitive": {**sensitive, "all": self.mask_all},
            "expires": self.reference.head.expires,
        }


class Revealer:
    """Reveals XComs to persons whose identity was proved. Threads may share it.

    :param giver: gets what the page is given.
    :param decide: decides whether a person may see an XCom.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        access_log: AccessLog,
        names: SensitiveNames,
        *,
        rate: RateLimit | None = None,
        giver: Giver | None = None,
        decide: Decide | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._access_log = access_log
        self._names = names
        self._rate = rate or RateLimit()
        self._giver = giver or SealedBytes()
        self._decide = decide or _viewers

    def reveal(self, policy: AccessPolicy, person: Person, request: RevealRequest) -> Revealed:
        """Return what the page is given of an XCom, once the access log has the event.

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
            verdict = self._decide(policy, request.coordinate, person)
            draft.decided(verdict)
            compartment = verdict.enforce()
            reference, preview = reference_of(self._database, request)
            draft.refers(reference, key_uses(reference))
            draft.sensitive = has_sensitive_name(reference.head.key, preview, self._names)
            check_compartment(reference.head, policy)
            max_bytes = min(MAX_BYTES, self._settings.max_bytes)
            checked = _checked(reference, compartment, max_bytes, where)
            content = self._giver.give(reference, checked, max_bytes, draft, where)
        return Revealed(
            record.ids[0],
            person.name,
            compartment.name,
            verdict.rule,
            reference,
            content,
            mask_mode([compartment], self._settings.mask_values) == "all",
        )


def _viewers(policy: AccessPolicy, coordinate: Coordinate, person: Person) -> Verdict:
    return judge_viewer(policy, coordinate, person.groups)


def _checked(reference: Reference, compartment: Rules, max_bytes: int, where: str) -> Openable:
    """Check what holds for every reader, and that the XCom is not exclusive.

    :raises SecureXComError: as `openable`; :raises ClaimRefused: it is exclusive.
    """
    checked = openable(reference, compartment, max_bytes=max_bytes, where=where)
    if reference.head.exclusive is not None or compartment.is_exclusive(reference.head.key):
        raise ClaimRefused(
            "it is exclusive: only one task instance may read it, and no person",
            where=where,
            remedy="clear the producing task, and let it push the value without marking it exclusive",
        )
    return checked


def sensitive_record(names: SensitiveNames, settings: Settings) -> dict[str, list[str]]:
    """Return what tells the page which fields to mask at first, as JSON: the value's names are not known here."""
    return {
        "names": sorted(names.names),
        "listed": sorted(names.listed),
        "exceptions": sorted(settings.not_sensitive_names),
    }

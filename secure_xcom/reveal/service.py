"""The service without HTTP: the deployment's parts, and what a request needs of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from secure_xcom.core.config import RELEASE
from secure_xcom.reveal.login_rendezvous import Logins
from secure_xcom.reveal.metrics import Metrics
from secure_xcom.reveal.people import VaultPeople
from secure_xcom.reveal.request import parse_request
from secure_xcom.reveal.revealing import MAX_BYTES, Revealed, Revealer, sensitive_record

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.core.config import Settings
    from secure_xcom.core.masking.sensitive_names import SensitiveNames
    from secure_xcom.reveal.identity_tokens import Person
    from secure_xcom.reveal.site import People, Session, Site

HIDE_AFTER_SECONDS = 60
"""The time for which the page shows a value."""


@dataclass(frozen=True)
class Service:
    """The functions that the routes call. Threads may share it.

    :ivar policy: returns the access policy as the file is now: a change is in force with the next request.
    :ivar people: who may ask, which makes the mode.
    """

    settings: Settings
    policy: Callable[[], AccessPolicy]
    revealer: Revealer
    names: SensitiveNames
    people: People = field(default_factory=VaultPeople)
    logins: Logins = field(default_factory=Logins)
    metrics: Metrics = field(default_factory=Metrics)

    def set_up(self) -> tuple[AccessPolicy, Site]:
        """Return the access policy as it is now, and where the page is.

        :raises PolicyInvalid: the file cannot be read; :raises RevealNotSetUp: it lacks a section.
        """
        policy = self.policy()
        return policy, self.people.site(policy)

    def configuration(self) -> dict[str, Any]:
        """Return what the page has to know, as JSON.

        :raises SecureXComError: the service is not set up.
        """
        policy, site = self.set_up()
        return {
            "mode": self.people.mode,
            "airflow_origin": site.framed_by,
            **self.people.configuration(policy),
            "max_bytes": min(MAX_BYTES, self.settings.max_bytes),
            "hide_after_seconds": HIDE_AFTER_SECONDS,
            "release": RELEASE,
        }

    def session(self, record: Mapping[str, Any]) -> Session:
        """Exchange what a login gave for a session.

        :raises SecureXComError: the login is refused.
        """
        policy, _ = self.set_up()
        return self.people.session(policy, record)

    def person(self, authorization: str) -> Person:
        """Return who a request's header proves.

        :raises SecureXComError: it proves nobody, or that cannot be told.
        """
        policy, _ = self.set_up()
        return self.people.person(policy, authorization)

    def reveal(self, person: Person, body: bytes) -> Revealed:
        """Return what a person asked for.

        :raises SecureXComError: it is refused, or cannot be done.
        """
        policy, _ = self.set_up()
        return self.revealer.reveal(policy, person, parse_request(body))

    def sensitive(self) -> dict[str, list[str]]:
        """Return which names of fields are sensitive, as JSON."""
        return sensitive_record(self.names, self.settings)

"""The interface of a mode of the service: the place of its page, and the people who may use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.reveal.identity_tokens import Person

Mode = Literal["browser", "service", "here"]


@dataclass(frozen=True, slots=True)
class Site:
    """The place of the page.

    :ivar origin: its own origin, from which alone requests are taken.
    :ivar framed_by: the origin of Airflow, whose tab frames the page; None if nothing may.
    :ivar connects_to: the origins that the page talks to besides its own.
    :ivar hosts: what requests must have as ``Host``; empty for anything, behind a proxy.
    """

    origin: str
    framed_by: str | None = None
    connects_to: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """The session that a login is exchanged for.

    :ivar token: the bearer token of `POST /v1/reveal`, good at this service alone.
    :ivar expires_in: its seconds; None if it ends with the service.
    """

    token: str = field(repr=False)
    person: str
    expires_in: int | None

    def record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"token": self.token, "person": self.person, "expires_in": self.expires_in}


class People(Protocol):
    """The people who may ask, and the way they prove it. Threads share it."""

    mode: Mode

    def site(self, policy: AccessPolicy) -> Site:
        """Return where the page is.

        :raises RevealNotSetUp: the access policy does not set up this mode.
        """

    def configuration(self, policy: AccessPolicy) -> dict[str, Any]:
        """Return what the page has to know of logins: ``vault`` and ``oidc``, each an object or None.

        :raises SecureXComError: it is not set up, or the identity provider does not answer.
        """

    def session(self, policy: AccessPolicy, record: Mapping[str, Any]) -> Session:
        """Exchange what a login gave for a session.

        :param record: the body of ``POST /v1/session``.
        :raises SecureXComError: the login is refused, or this mode has no sessions.
        """

    def person(self, policy: AccessPolicy, authorization: str) -> Person:
        """Return the person that a request's header ``Authorization`` proves.

        :raises SecureXComError: it proves nobody, or that cannot be told.
        """

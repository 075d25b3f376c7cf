"""People who log in at the company's OpenID Connect provider, for ``secure-xcom reveal --opens``.

The page starts the login with PKCE, a state and a nonce of its own. The service exchanges the code, so that no
provider needs CORS and the page connects to nothing but its own origin; the ID token is checked here and goes
nowhere. The page gets a session instead, which is good at this service alone and for ten minutes.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from secure_xcom.core.operator_errors import IdentityRefused, RevealNotSetUp, RevealRequestInvalid
from secure_xcom.reveal.identity_tokens import Person, named_person
from secure_xcom.reveal.oidc_provider import OidcProvider
from secure_xcom.reveal.sessions import Sessions
from secure_xcom.reveal.site import Mode, Session, Site

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.core.access_policy.reveal_section import Reveal, RevealOidc

SESSION_SECONDS = 600
"""The time for which the groups that the provider told are believed."""
_FIELDS = frozenset({"code", "code_verifier", "nonce"})
_CODE_MAX_CHARACTERS = 4096
# RFC 7636, section 4.1.
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_NONCE = re.compile(r"[A-Za-z0-9._~-]{22,200}")


class OidcPeople:
    """People who logged in at the access policy's provider. Threads may share it.

    :param make_provider: issuer, client id -> the provider.
    """

    mode: Mode = "service"

    def __init__(self, make_provider: Callable[[str, str], OidcProvider] = OidcProvider) -> None:
        self._make_provider = make_provider
        self._lock = threading.Lock()
        self._known: tuple[RevealOidc, OidcProvider, Sessions] | None = None

    def site(self, policy: AccessPolicy) -> Site:
        """See `People.site`."""
        reveal, _ = _sections(policy)
        return Site(reveal.origin, reveal.airflow_origin)

    def configuration(self, policy: AccessPolicy) -> dict[str, Any]:
        """See `People.configuration`."""
        _, provider, _ = self._provider(policy)
        endpoints = provider.endpoints()
        oidc = {
            "authorization_endpoint": endpoints.authorization,
            "client_id": provider.client_id,
            "scopes": endpoints.scopes,
        }
        return {"vault": None, "oidc": oidc}

    def session(self, policy: AccessPolicy, record: Mapping[str, Any]) -> Session:
        """Exchange the code of a login for a session.

        :param record: ``code``, ``code_verifier`` and ``nonce``.
        :raises RevealRequestInvalid: a field is missing or malformed.
        :raises IdentityRefused: the provider refuses the code, or the ID token is not one for this login.
        :raises IdentityProviderFailed: the provider does not answer as it should.
        """
        code, verifier, nonce = _login(record)
        reveal, _ = _sections(policy)
        oidc, provider, sessions = self._provider(policy)
        claims = provider.claims(code, verifier, f"{reveal.origin}/callback", nonce)
        return sessions.begin(_person(claims, oidc))

    def person(self, policy: AccessPolicy, authorization: str) -> Person:
        """Return the person whose session a request's header proves. No token of anybody else is accepted.

        :raises IdentityRefused: it proves none.
        """
        return self._provider(policy)[2].person(authorization)

    def _provider(self, policy: AccessPolicy) -> tuple[RevealOidc, OidcProvider, Sessions]:
        """Return the provider that the access policy names now. A changed one ends all sessions."""
        _, oidc = _sections(policy)
        with self._lock:
            if self._known is None or self._known[0] != oidc:
                provider = self._make_provider(oidc.issuer, oidc.client_id)
                self._known = (oidc, provider, Sessions(SESSION_SECONDS))
            return self._known


def _sections(policy: AccessPolicy) -> tuple[Reveal, RevealOidc]:
    if policy.reveal is None or policy.reveal.oidc is None:
        raise RevealNotSetUp(
            "the access policy has no section `reveal` with `oidc`", where="[secure_xcom] access_policy"
        )
    return policy.reveal, policy.reveal.oidc


def _login(record: Mapping[str, Any]) -> tuple[str, str, str]:
    if set(record) != _FIELDS:
        raise RevealRequestInvalid(
            f"the body is not an object with the fields {sorted(_FIELDS)}", where="the body"
        )
    code, verifier, nonce = record["code"], record["code_verifier"], record["nonce"]
    if not isinstance(code, str) or not 0 < len(code) <= _CODE_MAX_CHARACTERS or not code.isprintable():
        raise RevealRequestInvalid("the code is not a text of at most 4,096 characters", where="code")
    if not isinstance(verifier, str) or not _VERIFIER.fullmatch(verifier):
        raise RevealRequestInvalid("not a verifier of RFC 7636", where="code_verifier")
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
        raise RevealRequestInvalid("not a nonce of 22 to 200 characters", where="nonce")
    return code, verifier, nonce


def _person(claims: Mapping[str, Any], oidc: RevealOidc) -> Person:
    if oidc.user_claim == "email" and claims.get("email_verified", True) is not True:
        raise IdentityRefused(
            "the identity provider has not verified the person's e-mail address",
            where="the ID token",
            remedy="verify it there, or set `reveal.oidc.user_claim` to another claim",
        )
    return named_person(claims.get(oidc.user_claim), claims.get(oidc.groups_claim))

"""The company's OpenID Connect provider: its endpoints, its keys, and the exchange of a code for an ID token.

Sources: OpenID Connect Discovery 1.0, sections 3 and 4; OpenID Connect Core 1.0, sections 3.1.3 (token endpoint)
and 3.1.3.7 (ID token validation); RFC 7636 (PKCE). We are a public client: there is no client secret.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from secure_xcom.core.operator_errors import IdentityProviderFailed, IdentityRefused
from secure_xcom.reveal.identity_tokens import verified_claims
from secure_xcom.reveal.published_keys import KEEP_SECONDS, KEYS_MAX, Published, PublishedKeys, signing_keys

_ANSWER_MAX_BYTES = 1 << 20
_TIMEOUT_SECONDS = 5.0
_ALL_SECONDS = 15.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SCOPES = ("openid", "profile", "email", "groups")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The content of a provider's discovery document.

    :ivar exchange: the token endpoint. :ivar keys: the key set.
    :ivar scopes: what to ask for: ``openid``, and of what names a person or their groups what the provider knows.
    """

    authorization: str
    exchange: str
    keys: str
    scopes: str


class OidcProvider:
    """One provider and our client there. Threads may share it.

    :param issuer: as the access policy names it.
    :param client_id: a public client; it is the audience of the ID tokens.
    :param now: a monotonic clock, in seconds.
    """

    def __init__(self, issuer: str, client_id: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self.client_id = client_id
        self._now = now
        self._endpoints: tuple[float, Endpoints] | None = None
        self._keys = PublishedKeys(self._published, now=now)

    def endpoints(self) -> Endpoints:
        """Return the provider's endpoints, read at most every five minutes.

        :raises IdentityProviderFailed: it does not say them as it should.
        """
        cached = self._endpoints
        if cached is None or self._now() - cached[0] > KEEP_SECONDS:
            cached = self._endpoints = (self._now(), self._discover())
        return cached[1]

    def claims(self, code: str, code_verifier: str, redirect_uri: str, nonce: str) -> Mapping[str, Any]:
        """Exchange a code, and return the verified claims of the ID token.

        :param nonce: as the page sent it to the provider.
        :raises IdentityRefused: the provider refuses the code, or the ID token is not one for this login.
        :raises IdentityProviderFailed: the provider does not answer as it should.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self.client_id,
            "code_verifier": code_verifier,
        }
        where = self.endpoints().exchange
        status, record = _ask("POST", where, form)
        if status in (400, 401):
            raise IdentityRefused("the identity provider refuses the code of this login", where=where)
        token = record.get("id_token")
        if status != 200 or not isinstance(token, str):
            raise IdentityProviderFailed(f"there is no ID token in its answer (HTTP {status})", where=where)
        # Nothing else in the answer is read: only the ID token is signed.
        claims = verified_claims(token, self._keys)
        self._check_audience(claims)
        nonce_claim = claims.get("nonce")
        if not isinstance(nonce_claim, str) or not secrets.compare_digest(nonce_claim.encode(), nonce.encode()):
            raise IdentityRefused("the ID token is of another login (nonce)", where="the ID token")
        return claims

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        audience, party = claims["aud"], claims.get("azp")
        alone = audience in (self.client_id, [self.client_id])
        among = isinstance(audience, list) and self.client_id in audience and party == self.client_id
        if not (alone or among) or party not in (None, self.client_id):
            raise IdentityRefused("the ID token was not made for the reveal service", where="the ID token")

    def _discover(self) -> Endpoints:
        issuer = urlsplit(self._issuer)
        if issuer.scheme != "https" and issuer.hostname not in _LOOPBACK:
            raise IdentityProviderFailed("it is not reached by HTTPS", where=self._issuer)
        where = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        status, record = _ask("GET", where)
        if status != 200 or record.get("issuer") != self._issuer:
            raise IdentityProviderFailed(
                f"its discovery document is not one of the issuer {self._issuer!r:.200} (HTTP {status})",
                where=where,
                remedy="write `reveal.oidc.issuer` of the access policy exactly as the provider's document has it",
            )
        methods = record.get("code_challenge_methods_supported")
        if methods is not None and "S256" not in methods:
            raise IdentityProviderFailed("it does not support PKCE with S256", where=where)
        supported = record.get("scopes_supported")
        scopes = (
            [scope for scope in _SCOPES if scope in supported]
            if isinstance(supported, list)
            else list(_SCOPES[:3])
        )
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        authorization, exchange, keys = (self._url(record.get(name), name, where) for name in names)
        return Endpoints(authorization, exchange, keys, " ".join(dict.fromkeys(["openid", *scopes])))

    def _url(self, value: object, name: str, where: str) -> str:
        """Return an endpoint, which is as safe on its way as the issuer is."""
        try:
            parts = urlsplit(value) if isinstance(value, str) else None
        except ValueError:
            # What stands in brackets is no IPv6 address.
            parts = None
        scheme = urlsplit(self._issuer).scheme
        if parts is None or parts.scheme not in ("https", scheme) or not parts.hostname or parts.fragment:
            raise IdentityProviderFailed(f"its {name} is missing, or not an address with HTTPS", where=where)
        return parts.geturl()

    def _published(self) -> Published:
        where = self.endpoints().keys
        status, record = _ask("GET", where)
        keys = signing_keys(record) if status == 200 else None
        if keys is None:
            raise IdentityProviderFailed(
                f"it gives no list of at most {KEYS_MAX} keys (HTTP {status})", where=where
            )
        return Published(self._issuer, keys)


def _ask(method: str, url: str, form: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, Any]]:
    """Return the status and the JSON object of an answer; an empty one where it is none.

    :raises IdentityProviderFailed: there is no answer in time, or a longer one than any.
    """
    import requests

    until = time.monotonic() + _ALL_SECONDS
    body = b""
    try:
        with requests.request(
            method,
            url,
            data=form,
            headers={"Accept": "application/json"},
            timeout=_TIMEOUT_SECONDS,
            allow_redirects=False,
            stream=True,
        ) as answer:
            for piece in answer.iter_content(1 << 16):
                body += piece
                if len(body) > _ANSWER_MAX_BYTES or time.monotonic() > until:
                    raise IdentityProviderFailed("its answer is too long or too slow", where=url)
            status = answer.status_code
    except requests.RequestException as error:
        # The library's texts may quote what was sent.
        raise IdentityProviderFailed(f"it does not answer ({type(error).__name__})", where=url) from None
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        record = None
    return status, record if isinstance(record, dict) else {}

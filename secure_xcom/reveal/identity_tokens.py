"""Check identity tokens: who asks, proved by a signature of the Vault that the access policy names.

A token is a JWT (RFC 7519) that Vault makes for the person at ``identity/oidc/token/secure-xcom-reveal``. It is
accepted with one of two signature algorithms, by a key of the issuer's key set, for our audience, within its time.
Nothing in the token chooses how it is checked, but for the id of the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import jwt

from secure_xcom.core import clock
from secure_xcom.core.operator_errors import IdentityRefused
from secure_xcom.ops.service_policies.reveal_names import REVEAL_NAME

if TYPE_CHECKING:
    from jwt.types import Options

AUDIENCE = REVEAL_NAME
"""The ``client_id`` of the token role that `secure-xcom policy apply` sets up."""
ALGORITHMS = ("RS256", "ES256")
"""The signature algorithms that are accepted (RFC 7518, section 3.1). A key has one of them, and only one."""
TOKEN_MAX_CHARACTERS = 16 << 10
SKEW_SECONDS = 30
"""The largest difference by which the issuer's clock may be ahead of ours."""
LIFETIME_MAX_SECONDS = 600
"""Tokens of our role last two minutes. One that lasts longer was made by a role that is not ours."""
# An e-mail address (RFC 3696): 64 characters, an @ and 255.
_PERSON_MAX_CHARACTERS = 320
_GROUPS_MAX = 1000
_KEY_ID_MAX_CHARACTERS = 200
_SCHEME = "Bearer "
_SIGNATURE_ALONE: Options = {
    "verify_signature": True,
    "require": ["exp", "iat", "iss", "aud"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


@dataclass(frozen=True, slots=True)
class Person:
    """The person who asks.

    :ivar name: the person's name at the identity provider, such as an e-mail address.
    :ivar groups: the names of the person's groups, as the token has them.
    """

    name: str
    groups: frozenset[str]


class KeySource(Protocol):
    """The source of the issuer's public keys."""

    def key(self, key_id: str | None) -> jwt.PyJWK:
        """Return a public key.

        :param key_id: None for the only one, where a token need not name it (OpenID Connect Core, section 10.1).
        :raises IdentityRefused: the issuer has no such key.
        :raises SecureXComError: the issuer's keys cannot be read.
        """

    @property
    def issuer(self) -> str:
        """The issuer that tokens must name, known once `key` was called."""


def bearer_token(authorization: str) -> str:
    """Return the token of a request's header ``Authorization``.

    :raises IdentityRefused: it has none.
    """
    if not authorization.startswith(_SCHEME):
        raise IdentityRefused("the request has no bearer token", where="Authorization")
    return authorization.removeprefix(_SCHEME).strip()


def person_of(
    token: str, keys: KeySource, *, now: Callable[[], float] = lambda: clock.now().timestamp()
) -> Person:
    """Return who a token of Vault proves.

    :param now: the time in seconds since 1970.
    :raises IdentityRefused: the token is not one that is accepted.
    """
    claims = verified_claims(token, keys, now=now)
    if claims["aud"] != AUDIENCE:
        raise IdentityRefused("the token was not made for the reveal service", where="the identity token")
    if claims["exp"] - claims["iat"] > LIFETIME_MAX_SECONDS:
        raise IdentityRefused(
            f"the token lasts longer than {LIFETIME_MAX_SECONDS} seconds",
            where="the identity token",
            remedy="run `secure-xcom policy apply`, which makes tokens of two minutes",
        )
    return named_person(claims.get("person"), claims.get("groups"))


def verified_claims(
    token: str, keys: KeySource, *, now: Callable[[], float] = lambda: clock.now().timestamp()
) -> Mapping[str, Any]:
    """Return the claims of a token: signed by a key of the issuer, by this issuer, and within its time.

    :param now: the time in seconds since 1970.
    :raises IdentityRefused: the token is not one that is accepted. Whom it is for is left to be checked.
    """
    if not token or len(token) > TOKEN_MAX_CHARACTERS:
        raise IdentityRefused("the identity token is missing or too long", where="Authorization")
    key_id, algorithm = _header(token)
    key = keys.key(key_id)
    if key.algorithm_name != algorithm:
        raise IdentityRefused("the token's algorithm is not that of its key", where="the identity token")
    claims = _claims(token, key, algorithm)
    _check_time(claims, now())
    if claims["iss"] != keys.issuer:
        raise IdentityRefused("the token is of another issuer", where="the identity token")
    return claims


def _header(token: str) -> tuple[str | None, str]:
    """Return the id of the key, None where it names none, and the algorithm that a token names."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise IdentityRefused("the identity token is not a JWT", where="Authorization") from None
    key_id, algorithm = header.get("kid"), header.get("alg")
    if algorithm not in ALGORITHMS:
        raise IdentityRefused("the token's algorithm is not accepted", where="the identity token")
    named = isinstance(key_id, str) and 0 < len(key_id) <= _KEY_ID_MAX_CHARACTERS
    if not named and key_id is not None:
        raise IdentityRefused("the token names no key", where="the identity token")
    if "crit" in header:
        raise IdentityRefused("the token has extensions that are not supported", where="the identity token")
    return key_id, algorithm


def _claims(token: str, key: jwt.PyJWK, algorithm: str) -> Mapping[str, Any]:
    # The library checks the signature and the presence of claims; their meaning is checked here, with our clock.
    try:
        claims: Mapping[str, Any] = jwt.decode(token, key.key, algorithms=[algorithm], options=_SIGNATURE_ALONE)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        # The library's texts can quote parts of the token.
        raise IdentityRefused(
            f"the token's signature or form is wrong ({type(error).__name__})", where="the identity token"
        ) from None
    return claims


def _check_time(claims: Mapping[str, Any], now: float) -> None:
    times = {name: claims.get(name) for name in ("iat", "exp", "nbf")}
    for name, time in times.items():
        if time is None and name == "nbf":
            continue
        if isinstance(time, bool) or not isinstance(time, int | float) or not 0 < time < 1 << 40:
            raise IdentityRefused(f"the token's {name} is not a time", where="the identity token")
    if claims["exp"] <= now:
        raise IdentityRefused("the token has expired", where="the identity token")
    if max(claims["iat"], claims.get("nbf") or 0) > now + SKEW_SECONDS:
        raise IdentityRefused(
            "the token is not valid yet",
            where="the identity token",
            remedy="synchronize the clocks of the reveal service and of the token's issuer (NTP)",
        )


def named_person(name: object, groups: object) -> Person:
    """Return the person that a verified token names.

    :raises IdentityRefused: the name or the list of groups is missing, or not of its type.
    """
    if (
        not isinstance(name, str)
        or not name.strip()
        or len(name) > _PERSON_MAX_CHARACTERS
        or not name.isprintable()
    ):
        raise IdentityRefused(
            "the token does not name a person",
            where="the identity token",
            remedy="log in by the OIDC method that the access policy names; `secure-xcom policy apply` sets it up",
        )
    if (
        not isinstance(groups, list)
        or len(groups) > _GROUPS_MAX
        or not all(isinstance(group, str) for group in groups)
    ):
        raise IdentityRefused("the token has no list of groups", where="the identity token")
    return Person(name, frozenset(groups))

"""Identity tokens: who is believed, and every way in which a token is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secure_xcom.core.operator_errors import IdentityRefused
from secure_xcom.reveal.identity_tokens import AUDIENCE, LIFETIME_MAX_SECONDS, SKEW_SECONDS, person_of
from tests.support.reveal_service import ISSUER, Issuer, rsa_key

NOW = 1_800_000_000


def token(issuer: Issuer, **claims: Any) -> str:
    """A token of a fixed time."""
    return issuer.token(**{"iat": NOW, "exp": NOW + 120, **claims})


def accepted(text: str, issuer: Issuer, *, now: float = NOW + 1) -> str:
    """The person's name, where a token is accepted."""
    return person_of(text, issuer, now=lambda: now).name


def _part(record: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(record).encode()).rstrip(b"=").decode()


def _hmac_signed(header: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    """A token that is signed with a secret: the library refuses to make such with a public key."""
    signed = f"{_part(header)}.{_part(claims)}"
    signature = hmac.new(key, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "iat": NOW,
    "exp": NOW + 120,
    "person": "eve@example.com",
    "groups": ["secure-xcom-viewers-orders-oncall"],
}


def test_a_token_of_vault_is_accepted() -> None:
    """The person and the groups are those of the token, with RSA and with an elliptic curve."""
    issuer = Issuer()
    issuer.add_elliptic("key-2", ec.SECP256R1(), "ES256")
    for key_id in ("key-1", "key-2"):
        person = person_of(token(issuer, key_id=key_id), issuer, now=lambda: NOW + 1)
        assert person.name == "ana@example.com"
        assert person.groups == {"secure-xcom-viewers-orders-oncall"}


def _unsigned(_issuer: Issuer) -> str:
    return f"{_part({'alg': 'none', 'kid': 'key-1', 'typ': 'JWT'})}.{_part(CLAIMS)}."


def _signed_with_the_public_key(_issuer: Issuer) -> str:
    pem = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return _hmac_signed({"alg": "HS256", "kid": "key-1"}, CLAIMS, pem)


def _of_an_embedded_key(issuer: Issuer) -> str:
    """A token that brings its own key, by every way of RFC 7515."""
    other = Issuer(signers={"key-1": ("RS256", rsa.generate_private_key(65537, 2048))})
    place = "https://evil.example.com/keys"
    return token(other, headers={"jwk": other.public("key-1"), "jku": place, "x5u": place})


def _with_another_signature(issuer: Issuer) -> str:
    head, claims, _ = token(issuer).split(".")
    return f"{head}.{claims}.{token(issuer, person='bob@example.com').split('.')[2]}"


def _with_other_claims(issuer: Issuer) -> str:
    head, _, signature = token(issuer).split(".")
    return f"{head}.{_part(CLAIMS)}.{signature}"


def _of_another_curve(issuer: Issuer) -> str:
    issuer.add_elliptic("key-3", ec.SECP384R1(), "ES384")
    return token(issuer, key_id="key-3")


def _of_another_algorithm_of_the_key(_issuer: Issuer) -> str:
    return jwt.encode(CLAIMS, rsa_key(), algorithm="PS256", headers={"kid": "key-1"})


def _of_airflow(_issuer: Issuer) -> str:
    claims = {
        "sub": "admin",
        "aud": "apache-airflow",
        "iss": "airflow",
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 86400,
    }
    return jwt.encode(claims, "x" * 64, algorithm="HS512")


FORGED: list[Callable[[Issuer], str]] = [
    lambda _: "",
    lambda _: "x",
    lambda _: "..",
    lambda _: "a.b.c",
    lambda _: "x" * 20_000,
    lambda _: f"{_part([1])}.{_part([1])}.AA",
    lambda _: f"{'[' * 9000}.a.b",
    lambda issuer: token(issuer) + "x",
    lambda issuer: f"{token(issuer)}.{_part({})}",
    lambda issuer: token(issuer, headers={"kid": None}),
    lambda issuer: token(issuer, headers={"kid": "other"}),
    lambda issuer: token(issuer, headers={"kid": "../../key-1"}),
    lambda issuer: token(issuer, headers={"kid": "k" * 300}),
    lambda issuer: token(issuer, headers={"crit": ["b64"], "b64": True}),
    _unsigned,
    _signed_with_the_public_key,
    _of_an_embedded_key,
    _with_another_signature,
    _with_other_claims,
    _of_another_curve,
    _of_another_algorithm_of_the_key,
    _of_airflow,
]


@pytest.mark.parametrize("forge", FORGED)
def test_a_forged_token_is_refused(forge: Callable[[Issuer], str]) -> None:
    """Malformed, unsigned, signed by another key, or with an algorithm that the key does not have."""
    issuer = Issuer()
    with pytest.raises(IdentityRefused):
        accepted(forge(issuer), issuer)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": None},
        {"iss": "https://evil.example.com"},
        # An OIDC provider of the same Vault signs with the same keys.
        {"iss": f"{ISSUER}/provider/default"},
        {"aud": None},
        {"aud": "another-client"},
        {"aud": [AUDIENCE, "another-client"]},
        {"aud": []},
        {"exp": None},
        {"exp": "1800000100"},
        {"exp": True},
        {"exp": NOW},
        {"exp": 1 << 60},
        {"exp": NOW + LIFETIME_MAX_SECONDS + 1},
        {"iat": None},
        {"iat": NOW + 1000, "exp": NOW + 1100},
        {"iat": -1},
        {"nbf": NOW + 1000},
        {"nbf": "soon"},
        {"person": None},
        {"person": ""},
        {"person": "  "},
        {"person": 7},
        {"person": "a\nb"},
        {"person": "x" * 400},
        {"groups": None},
        {"groups": "secure-xcom-viewers-orders-oncall"},
        {"groups": [1]},
        {"groups": ["g"] * 1001},
    ],
)
def test_a_claim_that_is_wrong_or_missing(claims: dict[str, Any]) -> None:
    """A token of another issuer, for another audience, out of its time, or without a person is refused."""
    issuer = Issuer()
    with pytest.raises(IdentityRefused):
        accepted(token(issuer, **claims), issuer)


def test_a_token_ends_when_it_says() -> None:
    """A token is not believed from the second on in which it expires; the issuer's clock may be somewhat ahead."""
    issuer = Issuer()
    text = token(issuer)
    assert accepted(text, issuer, now=NOW + 119.9) == "ana@example.com"
    with pytest.raises(IdentityRefused, match="expired"):
        accepted(text, issuer, now=NOW + 120)
    assert accepted(text, issuer, now=NOW - SKEW_SECONDS) == "ana@example.com"
    with pytest.raises(IdentityRefused, match="not valid yet"):
        accepted(text, issuer, now=NOW - SKEW_SECONDS - 1)


def test_an_error_does_not_quote_the_token() -> None:
    """No part of a token is in the text of an error."""
    issuer = Issuer()
    text = token(issuer, aud="another-client", iat=int(time.time()), exp=int(time.time()) + 60)
    with pytest.raises(IdentityRefused) as refused:
        person_of(text, issuer)
    assert "another-client" not in str(refused.value)
    assert text.split(".")[1][:20] not in str(refused.value)

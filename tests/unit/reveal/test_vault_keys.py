"""Vault's public keys: kept, read again when a key is new, and not more often than anybody can make us."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from secure_xcom.core.operator_errors import IdentityRefused
from secure_xcom.core.vault_errors import VaultRefused, VaultUnreachable
from secure_xcom.reveal.published_keys import AGAIN_SECONDS, KEEP_SECONDS
from secure_xcom.reveal.vault_keys import VaultKeys
from tests.support.reveal_service import ISSUER, Issuer, rsa_key


@dataclass
class WellKnown:
    """What a Vault publishes, over HTTP."""

    keys: list[Any]
    issuer: Any = ISSUER
    status: int = 200
    asked: Counter[str] = field(default_factory=Counter)
    namespaces: set[str | None] = field(default_factory=set)
    address: str = ""

    def answer(self, path: str) -> bytes:
        """The body of a GET."""
        name = path.removeprefix("/v1/identity/oidc/.well-known/")
        self.asked[name] += 1
        return json.dumps(
            {"keys": {"keys": self.keys}, "openid-configuration": {"issuer": self.issuer}}[name]
        ).encode()


@pytest.fixture
def published() -> Iterator[WellKnown]:
    """A Vault with one key."""
    known = WellKnown([Issuer().public("key-1")])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = known.answer(self.path)
            known.namespaces.add(self.headers.get("X-Vault-Namespace"))
            self.send_response(known.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield known
    server.shutdown()
    thread.join()
    server.server_close()


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_keys_are_kept(published: WellKnown) -> None:
    """One read serves until the set is five minutes old."""
    clock = Clock()
    keys = VaultKeys(published.address, "team", now=clock)
    for _ in range(5):
        assert keys.key("key-1").key_id == "key-1"
        assert keys.issuer == ISSUER
    assert published.asked == {"keys": 1, "openid-configuration": 1}
    assert published.namespaces == {"team"}
    clock.now += KEEP_SECONDS + 1
    keys.key("key-1")
    assert published.asked["keys"] == 2


def test_a_rotated_key_is_found(published: WellKnown) -> None:
    """A token by a new key makes us read the set again, and one by a key that is gone is refused."""
    clock = Clock()
    keys = VaultKeys(published.address, None, now=clock)
    keys.key("key-1")
    published.keys = [Issuer(signers={"key-2": ("RS256", rsa_key())}).public("key-2")]
    clock.now += AGAIN_SECONDS + 1
    assert keys.key("key-2").key_id == "key-2"
    with pytest.raises(IdentityRefused):
        keys.key("key-1")


def test_unknown_keys_do_not_make_us_read_for_ever(published: WellKnown) -> None:
    """Whoever names many keys that do not exist causes one read in ten seconds."""
    clock = Clock()
    keys = VaultKeys(published.address, None, now=clock)
    for number in range(50):
        with pytest.raises(IdentityRefused):
            keys.key(f"no-{number}")
    assert published.asked["keys"] == 1
    clock.now += AGAIN_SECONDS + 1
    for number in range(50):
        with pytest.raises(IdentityRefused):
            keys.key(f"no-{number}")
    assert published.asked["keys"] == 2


def test_keys_of_other_kinds_are_left_out(published: WellKnown) -> None:
    """A shared secret, another curve, a key for encryption and what is no key are not used."""
    public = Issuer().public("key-1")
    issuer = Issuer(signers={"p384": ("ES384", ec.generate_private_key(ec.SECP384R1()))})
    published.keys = [
        public,
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256"},
        issuer.public("p384"),
        {**public, "kid": "enc", "use": "enc"},
        {**public, "kid": "pss", "alg": "PS256"},
        {name: value for name, value in public.items() if name != "kid"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "!"},
        7,
    ]
    keys = VaultKeys(published.address, None)
    assert keys.key("key-1").algorithm_name == "RS256"
    for key_id in ("secret", "p384", "enc", "pss", "broken"):
        with pytest.raises(IdentityRefused):
            keys.key(key_id)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"keys": "none"}, VaultRefused),
        ({"keys": [1] * 101}, VaultRefused),
        ({"issuer": None}, VaultRefused),
        ({"status": 404}, VaultRefused),
        ({"status": 503}, VaultUnreachable),
    ],
)
def test_a_vault_that_does_not_answer_as_one(published: WellKnown, changes: dict[str, Any], error: type) -> None:
    """What cannot be understood is our error, and nobody is believed."""
    for name, value in changes.items():
        setattr(published, name, value)
    with pytest.raises(error):
        VaultKeys(published.address, None).key("key-1")


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
def test_a_weak_key_is_not_believed(published: WellKnown) -> None:
    """A token that is signed by an RSA key of 1,024 bits is refused (RFC 7518, section 3.3: 2,048 at least)."""
    from secure_xcom.reveal.identity_tokens import person_of

    issuer = Issuer(signers={"weak": ("RS256", rsa.generate_private_key(65537, 1024))})  # noqa: S505  # on purpose
    published.keys = [issuer.public("weak")]
    with pytest.raises(IdentityRefused):
        person_of(issuer.token(key_id="weak"), VaultKeys(published.address, None))

"""Files with keys: the local keyring, and the signing key of the anchored log in PEM."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.keyring_errors import KeyringBroken
from secure_xcom.keys.keyring import Keyring
from secure_xcom.ops.audit_trail.tlog.ed25519 import from_pem, to_pem
from secure_xcom.ops.keyring import dump
from tests.fuzz import vectors
from tests.fuzz.harness import Harness


def _keyring(data: bytes) -> None:
    keyring = Keyring.parse(data, "keyring")
    assert Keyring.parse(dump(keyring), "keyring") == keyring
    assert keyring.latest in keyring.versions


def _signing_key(data: bytes) -> None:
    assert len(from_pem(data)) in (0, 32)


def _seeds() -> Iterator[bytes]:
    yield from vectors.keyrings()
    yield to_pem(bytes(range(32)))


HARNESS = Harness(
    (_keyring, _signing_key),
    (KeyringBroken,),
    _seeds,
    words=(
        "secure_xcom_keyring",
        "versions",
        "latest",
        "created",
        "-----BEGIN PRIVATE KEY-----",
        "BEGIN EC PRIVATE KEY",
    ),
)

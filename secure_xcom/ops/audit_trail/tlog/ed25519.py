"""Ed25519 of `cryptography`."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def generate() -> bytes:
    """Return the 32 bytes of a new private key."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_of(private: bytes) -> bytes:
    """Return the 32 bytes of the public key."""
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def sign(private: bytes, text: bytes) -> bytes:
    """Return the 64 bytes of the signature (RFC 8032, Ed25519)."""
    return Ed25519PrivateKey.from_private_bytes(private).sign(text)


def verify(public: bytes, signature: bytes, text: bytes) -> bool:
    """Check whether the private key of this public key signed the text."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def from_spki(encoded: bytes) -> bytes:
    """Return the 32 bytes of a DER-encoded SubjectPublicKeyInfo, or nothing if it is not an Ed25519 key."""
    try:
        key = serialization.load_der_public_key(encoded)
    except (ValueError, UnsupportedAlgorithm):
        return b""
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else b""


def to_pem(private: bytes) -> bytes:
    """Return the private key as PKCS#8 in PEM, without a password: the file's mode protects it."""
    return Ed25519PrivateKey.from_private_bytes(private).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def from_pem(text: bytes) -> bytes:
    """Return the 32 bytes of the private key, or nothing if the text is not an Ed25519 key."""
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return b""
    return key.private_bytes_raw() if isinstance(key, Ed25519PrivateKey) else b""

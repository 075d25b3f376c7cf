"""Signed notes (C2SP signed-note) with Ed25519 keys, and the one-line form of a verifier key."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from secure_xcom.core.errors import SettingInvalid
from secure_xcom.core.operator_errors import SealedLogInvalid

_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+\x00-\x1f]{1,200}")
_SIGNATURE_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
# A reader must accept 16 signatures (signed-note, "Format"); a witness's post-quantum signature has nearly 5 kB.
NOTE_MAX_BYTES = 256 << 10


class Signer(Protocol):
    """The log's key, or a service that holds it. Raises only errors of `secure_xcom.errors`."""

    uri: str

    def public_key(self) -> bytes:
        """Return the 32 bytes of the Ed25519 public key (RFC 8032)."""

    def sign(self, text: bytes) -> bytes:
        """Return the 64 bytes of an Ed25519 signature over the text."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A trusted key: its name and the 32 bytes of the Ed25519 public key."""

    name: str
    public: bytes = field(repr=False)

    @property
    def key_id(self) -> bytes:
        """The four bytes that precede its signatures."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(_ED25519 + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Parse ``NAME+ID+KEY``, the form of Go's sumdb/note.

        :raises SettingInvalid: it has another form, or the id does not match the key.
        """
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _decoded(encoded)
        verifier = cls(name, raw[1:])
        if (
            raw[:1] != _ED25519
            or len(raw) != 33
            or not _is_utf8(name)
            or str(verifier) != text.strip()
            or verifier.key_id.hex() != key_id
        ):
            raise SettingInvalid(
                "not a verifier key of an Ed25519 key",
                where=f"verifier key {text!r:.120}",
                remedy="write NAME+ID+KEY, as `secure-xcom audit key` prints it",
            )
        return verifier

    def signed(self, text: bytes, signature: bytes) -> bool:
        """Check whether the key made the signature."""
        from secure_xcom.ops.audit_trail.tlog.ed25519 import verify

        return verify(self.public, signature, text)


def checked_name(name: str, where: str) -> str:
    """Return a valid key name, which is the log's origin.

    :raises SettingInvalid: it is empty, over 200 characters, or has a space or a plus in it.
    """
    if not _NAME.fullmatch(name):
        raise SettingInvalid(
            f"{name!r:.80} is not a valid name of a log",
            where=where,
            remedy="write it like a URL without a scheme: audit.example.com/airflow",
        )
    return name


def sign_note(text: str, name: str, signer: Signer) -> bytes:
    """Return the text, a blank line and the signature.

    :raises SecureXComError: the signer did not sign, or its signature does not match its public key.
    """
    verifier = Verifier(name, signer.public_key())
    signature = signer.sign(text.encode())
    # If the key was replaced between the two requests, nobody could verify the log.
    if not verifier.signed(text.encode(), signature):
        raise SealedLogInvalid("the signature does not match the signing key", where=signer.uri)
    encoded = base64.b64encode(verifier.key_id + signature).decode()
    return f"{text}\n— {name} {encoded}\n".encode()


def open_note(note: bytes, verifiers: Sequence[Verifier], where: str) -> str:
    """Return the text of a note that a trusted key has signed; signatures of unknown keys are ignored.

    :raises SealedLogInvalid: it is not a note, a trusted key's signature is wrong, or no trusted key has signed.
    """
    try:
        whole = note.decode("utf-8") if len(note) <= NOTE_MAX_BYTES else ""
    except UnicodeDecodeError:
        whole = ""
    text, separator, signatures = whole.rpartition("\n\n")
    text += "\n"
    if (
        not separator
        or not signatures.endswith("\n")
        or any(ord(letter) < 32 and letter != "\n" for letter in whole)
    ):
        raise SealedLogInvalid("not a signed note", where=where)
    is_signed = False
    for line in signatures.removesuffix("\n").split("\n"):
        match = _SIGNATURE_LINE.fullmatch(line)
        raw = _decoded(match.group(2)) if match else b""
        if match is None or len(raw) < 5:
            raise SealedLogInvalid("a signature line of the note is invalid", where=where)
        for verifier in verifiers:
            if (verifier.name, verifier.key_id) == (match.group(1), raw[:4]):
                if not verifier.signed(text.encode(), raw[4:]):
                    raise SealedLogInvalid(
                        f"the signature of {verifier.name} does not match the note", where=where
                    )
                is_signed = True
    if not is_signed:
        raise SealedLogInvalid("no trusted key has signed the note", where=where)
    return text


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _is_utf8(text: str) -> bool:
    # An argument of the command line that is not UTF-8 has lone surrogates (PEP 383).
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Key services: wrap a data key, unwrap many, rewrap many. One file per service, chosen by the key URI.

A service never sees a payload, and nothing else sees a wrapping key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from secure_xcom.errors import KeyServiceError, UriInvalid

DATA_KEY_BYTES = 32
"""AES-256, and the length of Cobblestone-256's input key (C2SP chunked-encryption)."""

WRAPPED_MAX_CHARACTERS = 4096
"""Far over what any service returns for 32 bytes (KMS: about 300, transit: about 110)."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A random 32-byte data key. It cannot be printed by accident."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != DATA_KEY_BYTES:
            raise KeyServiceError(f"a data key has {DATA_KEY_BYTES} bytes, this one has {len(self.secret)}")

    @classmethod
    def generate(cls) -> DataKey:
        """A fresh key from the operating system's random source."""
        from cryptography.cobblestone import Cobblestone256Encryptor

        return cls(Cobblestone256Encryptor.generate_key())


@dataclass(frozen=True, slots=True)
class Wrap:
    """A wrapped data key and the encryption context that it is bound to."""

    wrapped: str = field(repr=False)
    context: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``secure-xcom check``: what was looked at, how it stands, and what to do about it."""

    subject: str
    status: Literal["ok", "warning", "error"]
    text: str
    remedy: str = ""


class KeyService(Protocol):
    """A service that holds wrapping keys. Every method raises only errors of our tree."""

    uri: str

    def wrap(self, data_key: DataKey, context: Mapping[str, str]) -> str:
        """Wrap with the newest version of the wrapping key, bound to the context."""

    def unwrap_many(self, wraps: Sequence[Wrap]) -> list[DataKey | KeyServiceError]:
        """Unwrap each, in order. What is wrong with one entry stands in its place and spares the others.

        :raises KeyServiceError: the service as a whole cannot answer.
        """

    def rewrap_many(self, wraps: Sequence[Wrap]) -> list[str | KeyServiceError]:
        """Wrap each anew with the newest version, without giving the data key to this process."""

    def check(self) -> list[Finding]:
        """What an operator should know of this key. Raises nothing: a failure is a finding."""


def key_service(uri: str) -> KeyService:
    """The service that a key URI names.

    :raises UriInvalid: no service has this scheme.
    """
    scheme, separator, _ = uri.partition("://")
    if separator and scheme == "local":
        from secure_xcom.keys.local import LocalKeyring

        return LocalKeyring(uri)
    if separator and scheme == "vault":
        from secure_xcom.keys.vault import VaultTransit

        return VaultTransit(uri)
    raise UriInvalid(
        f"no key service has the scheme {scheme!r:.40}",
        where=f"key URI {uri!r:.120}",
        remedy="use vault://CONN_ID/MOUNT/keys/NAME or local:///path/keyring.json",
    )

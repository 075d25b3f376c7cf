"""Key services: wrap a data key, unwrap many, rewrap many. One file per service, chosen by the key URI.

A service never sees a payload, and nothing else sees a wrapping key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, Protocol, cast, get_args

from secure_xcom.core.errors import KeyServiceError, UriInvalid
from secure_xcom.core.load_adapter import load

IMPLEMENTATIONS = {
    "local": "secure_xcom.keys.local:LocalKeyring",
    "vault": "secure_xcom.keys.vault:VaultTransit",
    "aws-kms": "secure_xcom.keys.aws_kms:AwsKms",
}
"""The key service of each scheme of a key URI."""

# Services whose wraps tell which key made them.
_TELLS_MAKER = {"aws-kms": "secure_xcom.keys.aws_kms_format:made_by"}

DATA_KEY_BYTES = 32
"""AES-256, and the length of Cobblestone-256's input key (C2SP chunked-encryption)."""

_VERSION = re.compile(r"[a-z-]+:v([1-9][0-9]{0,8}):")

WRAPPED_MAX_CHARACTERS = 4096
"""Far above what any service returns for 32 bytes (KMS: about 300, transit: about 110)."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A random 32-byte data key. It cannot be printed by accident."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != DATA_KEY_BYTES:
            raise KeyServiceError(f"a data key has {len(self.secret)} bytes instead of {DATA_KEY_BYTES}")

    @classmethod
    def generate(cls) -> DataKey:
        """Return a new key from the operating system's random source."""
        from secure_xcom.core.cobblestone import Cobblestone256Encryptor

        return cls(Cobblestone256Encryptor.generate_key())


@dataclass(frozen=True, slots=True)
class Wrap:
    """A wrapped data key and the encryption context that it is bound to."""

    wrapped: str = field(repr=False)
    context: Mapping[str, str]


class KeyService(Protocol):
    """A service that holds wrapping keys. Every method raises only errors of our tree."""

    uri: str

    def wrap(self, data_key: DataKey, context: Mapping[str, str]) -> str:
        """Wrap with the newest version of the wrapping key, bound to the context: at most 4,096 characters."""

    def unwrap_many(self, wraps: Sequence[Wrap]) -> list[DataKey | KeyServiceError]:
        """Unwrap each entry, in order. If one fails, its error takes its place; the others are not affected.

        :raises KeyServiceError: the service as a whole cannot answer.
        """

    def rewrap_many(self, wraps: Sequence[Wrap]) -> list[str | KeyServiceError]:
        """Rewrap each entry with the newest version, in order, without revealing the data key to this process."""


Role = Literal["required", "optional", "never"]


@dataclass(frozen=True, slots=True)
class KeyUri:
    """A key URI of the settings: ``NAME[?OPTION=VALUE[&OPTION=VALUE]]``.

    The part before the question mark names the wrapping key, and references carry only that. The options say how
    this deployment uses the key, so they may differ between producers and consumers. Every service has the option
    ``wrap``: the key's role at push. All other options are the service's own.

    :ivar name: the part that references carry.
    :ivar service: the part that the service parses: without ``wrap``.
    :ivar wrap: ``required``: a push fails without this key (the default). ``optional``: a push continues if the
        service does not wrap but another key does. ``never``: the key only opens what it wrapped before.
    """

    name: str
    service: str
    wrap: Role

    @classmethod
    @lru_cache(maxsize=1024)
    def parse(cls, text: str) -> KeyUri:
        """Parse a key URI.

        :raises UriInvalid: ``wrap`` has another value, or is given twice.
        """
        name, separator, query = text.partition("?")
        options = query.split("&") if separator else []
        roles = [option.removeprefix("wrap=") for option in options if option.startswith("wrap=")]
        if len(roles) > 1 or not set(roles) <= set(get_args(Role)):
            raise UriInvalid(
                "wrap is not one of required, optional and never, or is given twice",
                where=f"key URI {text!r:.200}",
                remedy="append ?wrap=required, ?wrap=optional or ?wrap=never to the key URI",
            )
        others = [option for option in options if not option.startswith("wrap=")]
        service = f"{name}?{'&'.join(others)}" if others else name
        return cls(name, service, cast("Role", roles[0]) if roles else "required")


def version_of(wrapped: str) -> int | None:
    """Return the version of the wrapping key that a wrapped data key names, as in ``vault:v3:...``.

    Return None for KMS, which does not disclose it.
    """
    match = _VERSION.match(wrapped)
    return int(match.group(1)) if match else None


def openers(listed: Sequence[str], wraps: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the keys that may open a reference, with the wrap for each: ``(listed key URI, wrapped)``, in order.

    Only listed keys are ever asked, because a reference comes from the database: whoever can write there must not
    be able to name another key. A key is asked for the wrap under its own name. Without one, it is asked for a
    wrap that it made under another name, if the wrap tells (KMS: `secure_xcom.keys.aws_kms_format.made_by`).

    :param listed: the key URIs of the settings; :param wraps: ``(name, wrapped)`` each, of the reference.
    """
    pairs: list[tuple[str, str]] = []
    for uri in listed:
        name = KeyUri.parse(uri).name
        same_name = [(uri, wrapped) for named, wrapped in wraps if named == name]
        pairs.extend(same_name or [(uri, wrapped) for _, wrapped in wraps if _made_by(name, wrapped)])
    return tuple(dict.fromkeys(pairs))


def __getattr__(name: str) -> object:
    if name == "Finding":  # Documented as a name of this module.
        from secure_xcom.core.findings import Finding

        return Finding
    raise AttributeError(name)


def _made_by(name: str, wrapped: str) -> bool:
    made_by = load(_TELLS_MAKER, name.partition("://")[0])
    return made_by is not None and bool(made_by(name, wrapped))


def key_service(uri: str) -> KeyService:
    """Return the service that a key URI names.

    :raises UriInvalid: no service has this scheme.
    """
    uri = KeyUri.parse(uri).service
    scheme, separator, _ = uri.partition("://")
    factory: Callable[[str], KeyService] | None = load(IMPLEMENTATIONS, scheme) if separator else None
    if factory is None:
        from secure_xcom.core.uri_faults import unknown_scheme

        raise unknown_scheme("key service", scheme if separator else "", f"key URI {uri!r:.120}")
    return factory(uri)

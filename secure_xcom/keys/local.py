"""``local:///absolute/path/keyring.json``: wrapping keys in a file, for one machine.

URI: an absolute path without escapes, ``.`` or ``..``.

Environment: none.

Permissions: the file has mode 0600 and belongs to the user that Airflow runs as. Only `secure_xcom.ops.keyring`
writes it. Whoever can read it can open everything that it wrapped. It has no policy and no log of its own; Vault
and KMS have both.

A wrapped data key is ``local:vN:BASE64``: N is the version of the wrapping key, and the base64 is the data key
as a Cobblestone-256 message (C2SP chunked-encryption) under that version, with `CONTEXT_PREFIX` and the
encryption context in canonical JSON (RFC 8785) as its context.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag

from secure_xcom.core.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from secure_xcom.core.coordinate import context_bytes
from secure_xcom.core.errors import KeyServiceError, KeyVersionUnknown, UnwrapRefused
from secure_xcom.core.reference import URI_MAX_CHARACTERS
from secure_xcom.keys import DataKey, Wrap
from secure_xcom.keys.keyring import Keyring
from secure_xcom.keys.keyring_file import open_keyring, read_keyring

CONTEXT_PREFIX = b"secure_xcom/local-wrap/1\x00"
"""A payload's context is JSON and starts with a brace, so a wrap is never mistaken for a sealed payload."""

SCHEME = "local://"
UNUSUAL = re.compile(r"[\x00-\x20%?#\\,]")
_NO_NAMES = {"", ".", ".."}
# 104 bytes: a salt of 24, a commitment of 32, the data key of 32 and a tag of 16.
_WRAPPED = re.compile(r"local:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]{139}=)")


def keyring_path(uri: str) -> str:
    """Return the absolute path that a ``local:///path`` key URI names. A path has only one URI.

    :raises UriInvalid: a relative path, a host, a query, a fragment, escapes, ``.`` or ``..``.
    """
    path = uri.removeprefix(SCHEME)
    begins = uri.startswith(SCHEME) and path.startswith("/") and len(uri) <= URI_MAX_CHARACTERS
    if not begins or UNUSUAL.search(path) or not path.isprintable() or _NO_NAMES & set(path[1:].split("/")):
        from secure_xcom.keys.keyring_faults import invalid_uri

        raise invalid_uri(uri)
    return path


class LocalKeyring:
    """The key service of one machine: see the module's docstring.

    :raises UriInvalid: see `keyring_path`. The file is opened at the first use, not here.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._path = keyring_path(uri)
        self._read: tuple[tuple[int, ...], Keyring] | None = None

    def __repr__(self) -> str:
        return f"LocalKeyring({self.uri!r})"

    def __reduce__(self) -> tuple[type[LocalKeyring], tuple[str]]:
        # A copy in another process reads the file itself, so that wrapping keys are never pickled.
        return LocalKeyring, (self.uri,)

    def wrap(self, data_key: DataKey, context: Mapping[str, str]) -> str:
        """Wrap with the newest version.

        :raises KeyringError: the file cannot be used.
        """
        return _wrap(self.keyring(), data_key, context)

    def unwrap_many(self, wraps: Sequence[Wrap]) -> list[DataKey | KeyServiceError]:
        """Unwrap each, in order; an `UnwrapRefused` or `KeyVersionUnknown` stands in the place of its entry.

        :raises KeyringError: the file cannot be used.
        """
        keyring = self.keyring()
        return [self._unwrap(keyring, wrap) for wrap in wraps]

    def rewrap_many(self, wraps: Sequence[Wrap]) -> list[str | KeyServiceError]:
        """Rewrap each with the newest version.

        The key service is this process, so the data key passes through its memory, but does not leave this method.

        :raises KeyringError: the file cannot be used.
        """
        keyring = self.keyring()
        opened = [self._unwrap(keyring, wrap) for wrap in wraps]
        return [
            key if isinstance(key, KeyServiceError) else _wrap(keyring, key, wrap.context)
            for key, wrap in zip(opened, wraps, strict=True)
        ]

    def keyring(self) -> Keyring:
        """Return the keyring as its file is now.

        :raises KeyringError: the file cannot be used.
        """
        # The file is opened and checked at every use, but read only after a change. So a rotation takes effect at
        # once, and a removed or exposed file is noticed at once.
        with open_keyring(self._path) as (status, descriptor):
            mark = _mark(status)
            read = self._read
            if read is None or read[0] != mark:
                read = self._read = (mark, read_keyring(descriptor, self._path))
            return read[1]

    def _unwrap(self, keyring: Keyring, wrap: Wrap) -> DataKey | KeyServiceError:
        form = _WRAPPED.fullmatch(wrap.wrapped)
        sealed = base64.b64decode(form.group(2)) if form else b""
        # Encoding it again refuses the other spellings of the last character (RFC 4648, section 3.5).
        if form is None or base64.b64encode(sealed).decode() != form.group(2):
            return UnwrapRefused("the wrapped data key is not of the form local:vN:BASE64", where=self.uri)
        number = int(form.group(1))
        version = keyring.versions.get(number)
        if version is None:
            return KeyVersionUnknown(
                f"the keyring has no version v{number}",
                where=self.uri,
                remedy="restore the keyring that has this version, or clear the producing task",
            )
        try:
            decryptor = Cobblestone256Decryptor(key=version.key, context=_context(wrap.context))
            return DataKey(decryptor.update(sealed) + decryptor.finalize())
        except (InvalidTag, ValueError):
            return UnwrapRefused(
                f"the data key does not unwrap with v{number}: it was edited, or belongs to another "
                "encryption context",
                where=self.uri,
            )


def _wrap(keyring: Keyring, data_key: DataKey, context: Mapping[str, str]) -> str:
    try:
        bound = _context(context)
    except ValueError:
        raise KeyServiceError("the encryption context is not UTF-8 text", where=f"v{keyring.latest}") from None
    encryptor = Cobblestone256Encryptor(key=keyring.versions[keyring.latest].key, context=bound)
    sealed = encryptor.update(data_key.secret) + encryptor.finalize()
    return f"local:v{keyring.latest}:{base64.b64encode(sealed).decode()}"


def _context(context: Mapping[str, str]) -> bytes:
    return CONTEXT_PREFIX + context_bytes(context)


def _mark(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

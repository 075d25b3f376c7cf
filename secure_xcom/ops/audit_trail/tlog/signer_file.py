"""``file:///path/sealing.pem``: an Ed25519 key in a file that only its owner can use.

The file is PKCS#8 in PEM, so that other tools can read it. Keep it beside the local keyring and never beside the
access log: anybody who has both can write a new history and sign it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.operator_errors import SigningKeyError

_FILE_MAX_BYTES = 4096


class FileSigner:
    """The key in a file, as the module's docstring describes it.

    :raises UriInvalid: the URI does not name an absolute path.
    """

    def __init__(self, uri: str) -> None:
        try:
            parts = urlsplit(uri)
        except ValueError:
            # What stands in brackets is no IPv6 address, so the URI has a host.
            parts = urlsplit("//host")
        self.uri = uri
        self.path = Path(unquote(parts.path))
        if parts.netloc or parts.query or parts.fragment or not self.path.name:
            raise UriInvalid(
                "a signing key file is file:///absolute/path",
                where=f"signing key URI {uri!r:.120}",
                remedy="write three slashes",
            )

    def public_key(self) -> bytes:
        """Return the public key.

        :raises SigningKeyError: there is no key, or others can use it.
        """
        from secure_xcom.ops.audit_trail.tlog.ed25519 import public_of

        return public_of(self._private())

    def sign(self, text: bytes) -> bytes:
        """Sign a text.

        :raises SigningKeyError: there is no key, or others can use it.
        """
        from secure_xcom.ops.audit_trail.tlog.ed25519 import sign

        return sign(self._private(), text)

    def create(self) -> None:
        """Create a key with mode 0600, and missing folders with mode 0700.

        :raises SigningKeyError: the file exists already, or cannot be written.
        """
        from secure_xcom.ops.audit_trail.tlog.ed25519 import generate, to_pem

        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(self.path, flags, 0o600), "wb") as file:
                file.write(to_pem(generate()))
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            raise SigningKeyError(
                "the file exists already, and a key is never overwritten",
                where=self.uri,
                remedy="use the existing key, or choose another path",
            ) from None
        except OSError as error:
            raise SigningKeyError(
                f"the key cannot be written ({os.strerror(error.errno or 0)})", where=self.uri
            ) from None

    def _private(self) -> bytes:
        from secure_xcom.ops.audit_trail.tlog.ed25519 import from_pem

        try:
            # A link is not followed and a pipe is not waited for: neither is a key file.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SigningKeyError(
                f"the signing key cannot be opened ({os.strerror(error.errno or 0)})",
                where=self.uri,
                remedy="create it with `secure-xcom audit key --create`, or restore it from a backup",
            ) from None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            exposed = status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
            if not stat.S_ISREG(status.st_mode) or exposed or status.st_uid != os.geteuid():
                raise SigningKeyError(
                    "the signing key is not a file that only this user can read and write",
                    where=self.uri,
                    remedy="run `chmod 600` as its owner, and create a new key if others could have read it",
                )
            private = from_pem(file.read(_FILE_MAX_BYTES))
        if not private:
            raise SigningKeyError("the file is not an Ed25519 key in PEM format", where=self.uri)
        return private

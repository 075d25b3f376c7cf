"""Ids behind a keyed hash, for deployments whose names are personal data (a patient's number in a run id).

An id becomes ``hmac-sha256:KEY:HASH``: HASH is HMAC-SHA-256 (RFC 2104) over the id's name, a zero byte and the
id; KEY is eight characters that distinguish keys. The owner of the key finds an id by hashing it; nobody else can
find or guess an id. The key is a file of at least 32 random bytes that only its owner can read: ``openssl rand
-out audit-ids.key 32``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from secure_xcom.core.errors import SettingInvalid

NAMES = ("dag_id", "run_id", "task_id", "key", "object", "operator")
"""The ids that can be hashed. An object's URI contains the DAG, run and task id, so it is hashed with them."""

KEY_BYTES = 32
"""The minimum length of a key: the length of the hash (RFC 2104, section 3)."""

_PREFIX = "hmac-sha256:"
_IN_OBJECT = {"dag_id", "run_id", "task_id"}


@dataclass(frozen=True, slots=True)
class IdHasher:
    """Hash the ids with certain names.

    :param secret: the key.
    :param names: the ids to hash, from `NAMES`.
    """

    secret: bytes = field(repr=False)
    names: frozenset[str] = frozenset(NAMES)

    @classmethod
    def load(cls, path: str, names: Sequence[str] = ()) -> IdHasher:
        """Read the key file.

        :param names: the ids to hash; all of `NAMES` by default.
        :raises SettingInvalid: the file is missing, too short or open to others, or a name is not in `NAMES`.
        """
        unknown = sorted(set(names) - set(NAMES))
        if unknown:
            raise SettingInvalid(
                f"{unknown[0]!r:.40} is not an id that can be hashed",
                where="[secure_xcom] audit_hash_ids",
                remedy=f"the ids are {', '.join(NAMES)}",
            )
        chosen = set(names or NAMES)
        return cls(_read(path), frozenset(chosen | {"object"} if chosen & _IN_OBJECT else chosen))

    def hash(self, name: str, text: str) -> str:
        """Return the form of an id in the log, which a search looks for."""
        message = name.encode() + b"\0" + text.encode()
        return f"{_PREFIX}{self._mac(b'key')[:8]}:{self._mac(message)}"

    def fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return an event's fields with the chosen ids hashed, in its coordinates as well."""
        return {
            name: self.fields(value)
            if isinstance(value, dict)
            else self.hash(name, value)
            if name in self.names and isinstance(value, str)
            else value
            for name, value in fields.items()
        }

    def _mac(self, message: bytes) -> str:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.hmac import HMAC

        mac = HMAC(self.secret, SHA256())
        mac.update(message)
        return mac.finalize().hex()


def is_hashed(text: str) -> bool:
    """Check whether an id of an event is a hash."""
    return text.startswith(_PREFIX)


def _read(path: str) -> bytes:
    where = f"[secure_xcom] audit_hash_key = {path}"
    try:
        with open(path, "rb") as file:
            mode, secret = os.fstat(file.fileno()).st_mode, file.read(1 << 16)
    except OSError as error:
        raise SettingInvalid(
            f"the key file cannot be read ({type(error).__name__})",
            where=where,
            remedy="create it with `openssl rand -out FILE 32` and `chmod 600 FILE`, the same for every worker",
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise SettingInvalid("the key file is open to others", where=where, remedy="run `chmod 600` on the file")
    if len(secret) < KEY_BYTES:
        raise SettingInvalid(
            f"the key has under {KEY_BYTES} bytes",
            where=where,
            remedy="create a longer one with `openssl rand -out FILE 32`",
        )
    return secret

"""An issuer's public keys: read when they are needed, kept for a while, and read again.

A set is kept for five minutes, and a token by a key that is not in it makes us read the set earlier.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jwt

from secure_xcom.core.operator_errors import IdentityRefused
from secure_xcom.reveal.identity_tokens import ALGORITHMS

KEEP_SECONDS = 300.0
AGAIN_SECONDS = 10.0
"""The time in which an unknown key id does not make us read the set again: anybody can name one."""
KEYS_MAX = 100
# RFC 7518, section 3.3.
_RSA_MIN_BITS = 2048


@dataclass(frozen=True, slots=True)
class Published:
    """The name of an issuer, and its published keys by their ids."""

    issuer: str
    keys: Mapping[str, jwt.PyJWK]


class PublishedKeys:
    """The issuer and the public keys. Threads may share it.

    :param read: returns what is published now. :param now: a monotonic clock, in seconds.
    """

    def __init__(self, read: Callable[[], Published], *, now: Callable[[], float] = time.monotonic) -> None:
        self._publish = read
        self._now = now
        self._lock = threading.Lock()
        self._set: tuple[float, Published] | None = None

    @property
    def issuer(self) -> str:
        """See `KeySource.issuer`."""
        return self._current()[1].issuer

    def key(self, key_id: str | None) -> jwt.PyJWK:
        """Return a public key.

        :raises IdentityRefused: the issuer has no such key.
        :raises SecureXComError: the issuer's keys cannot be read.
        """
        current = self._current()
        if key_id is None:
            if len(current[1].keys) != 1:
                raise IdentityRefused(
                    "the token names no key, and its issuer has several", where="the identity token"
                )
            return next(iter(current[1].keys.values()))
        if key_id not in current[1].keys and self._now() - current[0] > AGAIN_SECONDS:
            current = self._read(than=current)
        key = current[1].keys.get(key_id)
        if key is None:
            raise IdentityRefused(
                "the token is signed with a key that its issuer does not publish", where="the identity token"
            )
        return key

    def _current(self) -> tuple[float, Published]:
        current = self._set
        if current is None or self._now() - current[0] > KEEP_SECONDS:
            current = self._read(than=current)
        return current

    def _read(self, *, than: tuple[float, Published] | None) -> tuple[float, Published]:
        """Read the set again, unless another thread has done it meanwhile.

        :param than: the set that is not new enough.
        """
        with self._lock:
            if self._set is not None and self._set is not than:
                return self._set
            self._set = (self._now(), self._publish())
            return self._set


def signing_keys(record: Mapping[str, object]) -> dict[str, jwt.PyJWK] | None:
    """Return the keys of a JSON Web Key Set (RFC 7517) that tokens may be signed with; None if it is not one."""
    listed = record.get("keys")
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        return None
    keys: dict[str, jwt.PyJWK] = {}
    for entry in listed:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError):
            # An issuer may have keys of algorithms that we do not take; tokens by them are refused.
            continue
        weak = key.key_type == "RSA" and key.key.key_size < _RSA_MIN_BITS
        if key.key_id and key.algorithm_name in ALGORITHMS and not weak:
            keys[key.key_id] = key
    return keys

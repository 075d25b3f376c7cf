"""The public keys of a Vault that makes identity tokens: read when they are needed, kept, and read again.

Vault rotates its keys (``identity/oidc/key/NAME``, every 24 hours by default) and publishes the next one before it
uses it. So a set is kept for five minutes, and a token by a key that is not in it makes us read the set earlier.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from secure_xcom.connections.vault.endpoint import VaultEndpoint, verify_from_environment
from secure_xcom.connections.vault.http import VaultHttp
from secure_xcom.core.errors import IdentityRefused, VaultRefused
from secure_xcom.reveal.identity import ALGORITHMS

KEEP_SECONDS = 300.0
AGAIN_SECONDS = 10.0
"""How long an unknown key id does not make us read the set again: anybody can name one."""
_TIMEOUT_SECONDS = 5.0
_KEYS_MAX = 100
# RFC 7518, section 3.3.
_RSA_MIN_BITS = 2048
_WELL_KNOWN = "identity/oidc/.well-known"


@dataclass(frozen=True, slots=True)
class _KeySet:
    read: float
    issuer: str
    keys: Mapping[str, jwt.PyJWK]


class VaultKeys:
    """The issuer and the public keys of one Vault. Threads may share it.

    :param address: of Vault, as in the access policy; :param namespace: where the person logs in.
    :param now: a monotonic clock, in seconds.
    """

    def __init__(self, address: str, namespace: str | None, *, now: Callable[[], float] = time.monotonic) -> None:
        endpoint = VaultEndpoint(
            address.rstrip("/"), namespace or "", verify=verify_from_environment(), timeout=_TIMEOUT_SECONDS
        )
        self._http = VaultHttp(endpoint)
        self._now = now
        self._lock = threading.Lock()
        self._set: _KeySet | None = None

    @property
    def issuer(self) -> str:
        """See `KeySource.issuer`. Vault names it itself: by default it is derived from ``api_addr``."""
        return self._current().issuer

    def key(self, key_id: str) -> jwt.PyJWK:
        """Return a public key.

        :raises IdentityRefused: Vault has no such key; :raises VaultTrouble: the keys cannot be read.
        """
        keys = self._current()
        if key_id not in keys.keys and self._now() - keys.read > AGAIN_SECONDS:
            keys = self._read(than=keys)
        key = keys.keys.get(key_id)
        if key is None:
            raise IdentityRefused(
                "the token is signed by a key that Vault does not have", where="the identity token"
            )
        return key

    def _current(self) -> _KeySet:
        keys = self._set
        if keys is None or self._now() - keys.read > KEEP_SECONDS:
            keys = self._read(than=keys)
        return keys

    def _read(self, *, than: _KeySet | None) -> _KeySet:
        """Read the set again, unless another thread has done it meanwhile.

        :param than: the set that is not new enough.
        """
        with self._lock:
            if self._set is not None and self._set is not than:
                return self._set
            configuration = self._get("openid-configuration")
            issuer = configuration.get("issuer")
            if not isinstance(issuer, str) or not issuer:
                raise self._malformed("names no issuer")
            self._set = _KeySet(self._now(), issuer, self._keys(self._get("keys")))
            return self._set

    def _keys(self, record: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
        listed = record.get("keys")
        if not isinstance(listed, list) or len(listed) > _KEYS_MAX:
            raise self._malformed(f"is no list of at most {_KEYS_MAX} keys")
        keys: dict[str, jwt.PyJWK] = {}
        for each in listed:
            if not isinstance(each, dict) or each.get("use", "sig") != "sig":
                continue
            try:
                key = jwt.PyJWK(each)
            except (jwt.PyJWTError, ValueError, TypeError):
                # Vault may have keys of algorithms that we do not take; tokens by them are refused.
                continue
            weak = key.key_type == "RSA" and key.key.key_size < _RSA_MIN_BITS
            if key.key_id and key.algorithm_name in ALGORITHMS and not weak:
                keys[key.key_id] = key
        return keys

    def _get(self, name: str) -> Mapping[str, Any]:
        answer = self._http.send("GET", f"{_WELL_KNOWN}/{name}", accept=(200,))
        if answer.status != 200:
            raise self._malformed(f"was answered with {answer.status}")
        return answer.data

    def _malformed(self, what: str) -> VaultRefused:
        return VaultRefused(
            f"Vault's {_WELL_KNOWN} {what}",
            where=self._http.server.address,
            remedy="check `reveal.vault` of the access policy, and run `secure-xcom policy apply`",
        )

"""The public keys of a Vault that makes identity tokens.

Vault rotates its keys (``identity/oidc/key/NAME``, every 24 hours by default) and publishes the next one before it
uses it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from secure_xcom.connections.vault.endpoint import VaultEndpoint, verify_from_environment
from secure_xcom.connections.vault.http import VaultHttp
from secure_xcom.core.vault_errors import VaultRefused
from secure_xcom.reveal.published_keys import KEYS_MAX, Published, PublishedKeys, signing_keys

_TIMEOUT_SECONDS = 5.0
_WELL_KNOWN = "identity/oidc/.well-known"


class VaultKeys(PublishedKeys):
    """The issuer and the public keys of one Vault. Threads may share it.

    Vault names the issuer itself: by default it is derived from ``api_addr``.

    :param address: of Vault, as in the access policy; :param namespace: where the person logs in.
    :param now: a monotonic clock, in seconds.
    """

    def __init__(self, address: str, namespace: str | None, *, now: Callable[[], float] = time.monotonic) -> None:
        endpoint = VaultEndpoint(
            address.rstrip("/"), namespace or "", verify=verify_from_environment(), timeout=_TIMEOUT_SECONDS
        )
        self._http = VaultHttp(endpoint)
        super().__init__(self._published, now=now)

    def _published(self) -> Published:
        configuration = self._get("openid-configuration")
        issuer = configuration.get("issuer")
        if not isinstance(issuer, str) or not issuer:
            raise self._malformed("names no issuer")
        keys = signing_keys(self._get("keys"))
        if keys is None:
            raise self._malformed(f"is not a list of at most {KEYS_MAX} keys")
        return Published(issuer, keys)

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

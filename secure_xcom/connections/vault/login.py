"""Manage a token: log in on first use, renew or replace it before it expires, check it when it is denied."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time

from secure_xcom.connections.vault.auth import Token, TokenSource
from secure_xcom.connections.vault.http import VaultHttp
from secure_xcom.core.errors import VaultDenied, VaultLoginRefused, VaultTrouble

log = logging.getLogger(__name__)

# Vault Agent renews after two thirds of a lease (Vault, "Vault Agent auto-auth", lifetime watcher).
_RENEW_AFTER = 2 / 3
_TRY_AGAIN_SECONDS = 5.0


class Login:
    """One token of one source, shared by all threads of a process."""

    def __init__(self, source: TokenSource, wire: VaultHttp) -> None:
        self._source = source
        self._wire = wire
        self._lock = threading.RLock()
        self._token: str | None = None
        self._lease = 0.0
        self._renewable = False
        self._ends = math.inf
        self._due = math.inf

    @property
    def method(self) -> str:
        """The auth method's name."""
        return self._source.method

    def token(self) -> str:
        """Return a token that has not expired as far as is known.

        :raises VaultTrouble: there is none.
        """
        with self._lock:
            if self._token is None:
                return self._keep(self._source.fresh())
            if time.monotonic() >= self._due:
                return self._prolong(self._token)
            return self._token

    def replaced(self, token: str) -> str:
        """Return another token than this one, which Vault denied.

        :raises VaultDenied: the token is alive, so Vault's policy refuses the request.
        :raises VaultLoginRefused: the token has expired and the source has no other.
        """
        with self._lock:
            if self._token != token:
                # Another thread has replaced it meanwhile.
                return self.token()
            if self._alive(token):
                raise VaultDenied("Vault denies the request", where=self._wire.server.address)
            fresh = self._source.fresh()
            if fresh.text == token:
                raise VaultLoginRefused(
                    "Vault does not take the token: it has expired, was revoked, or is of another namespace",
                    where=self._wire.server.address,
                    remedy="put a new token in its place, or use an auth method that can log in again (AppRole, "
                    "Kubernetes, JWT ...)",
                )
            log.debug("Vault no longer took the token; logged in anew by %s.", self._source.method)
            return self._keep(fresh)

    def _alive(self, token: str) -> bool:
        try:
            return self._wire.send("GET", "auth/token/lookup-self", token=token).ok
        except VaultDenied as denied:
            # A token without the default policy is valid but may not look itself up.
            return not denied.token_unknown

    def _keep(self, fresh: Token) -> str:
        token = self._token = fresh.text
        _hide_from_logs(token)
        self._lease, self._ends, self._due, self._renewable = 0.0, math.inf, math.inf, fresh.renewable
        if fresh.seconds is not None:
            if fresh.seconds > 0:
                self._counts_from_now(fresh.seconds)
            return token
        try:
            answer = self._wire.send("GET", "auth/token/lookup-self", token=token)
        except VaultDenied:
            # A token without the default policy may not look itself up; it is used until it is denied.
            return token
        except VaultTrouble:
            self._token = None
            raise
        self._renewable = answer.data.get("renewable") is True
        if answer.data.get("expire_time") is not None:
            # Vault truncates fractions, so the last second of a token reads 0.
            self._counts_from_now(max(float(answer.data.get("ttl") or 0), 0.5))
        return token

    def _counts_from_now(self, seconds: float) -> None:
        now = time.monotonic()
        self._lease = seconds
        self._ends = now + seconds
        self._due = now + seconds * _RENEW_AFTER

    def _prolong(self, token: str) -> str:
        """Renew, or log in again where a renewal gives little. A failure matters once the token has expired."""
        if self._renewed(token):
            return token
        try:
            fresh = self._source.fresh()
            if fresh.text != token:
                return self._keep(fresh)
        except VaultTrouble as trouble:
            now = time.monotonic()
            if now >= self._ends:
                self._token = None
                raise
            log.debug("The token of Vault could not be prolonged yet: %s", trouble.what)
            self._due = min(now + _TRY_AGAIN_SECONDS, self._ends)
            return token
        # The source has only this token: it is used until Vault reports that it has expired.
        self._due = math.inf
        return token

    def _renewed(self, token: str) -> bool:
        """Return whether a renewal gave at least half its time. Near max_ttl Vault gives less, or an error."""
        if not self._renewable:
            return False
        before = self._lease
        try:
            answer = self._wire.send("POST", "auth/token/renew-self", {}, token=token)
        except VaultTrouble as trouble:
            log.debug("The token of Vault could not be renewed: %s", trouble.what)
            return False
        lease = answer.auth.get("lease_duration")
        if not answer.ok or not isinstance(lease, (int, float)) or lease <= before / 2:
            return False
        self._renewable = answer.auth.get("renewable") is True
        self._counts_from_now(lease)
        return True


def _hide_from_logs(token: str) -> None:
    """Register the token with Airflow's masker: this product does not log it, but a DAG might."""
    if token and "airflow" in sys.modules:
        from airflow.sdk.log import mask_secret

        mask_secret(token)

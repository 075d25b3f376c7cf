"""Manage a token: log in on first use, renew or replace it before it expires, check it when it is denied."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from typing import NamedTuple

from secure_xcom.connections import in_triggerer
from secure_xcom.connections.vault.auth import Token, TokenSource
from secure_xcom.connections.vault.http import VaultHttp
from secure_xcom.core.vault_errors import VaultDenied, VaultLoginRefused, VaultTrouble
from secure_xcom.core.waiting import SharedCalls

log = logging.getLogger(__name__)

# Vault Agent renews after two thirds of a lease (Vault, "Vault Agent auto-auth", lifetime watcher).
_RENEW_AFTER = 2 / 3
_TRY_AGAIN_SECONDS = 5.0


class _Held(NamedTuple):
    """A token and what is known of its time, on `time.monotonic`.

    :ivar lease: how many seconds its last login or renewal gave it; 0 where nothing is known.
    :ivar due: from when on it is renewed or replaced, and :ivar ends: when it expires.
    """

    token: str
    lease: float = 0.0
    renewable: bool = False
    ends: float = math.inf
    due: float = math.inf

    def lasting(self, seconds: float, *, renewable: bool) -> _Held:
        """Return the same token with this many seconds from now on."""
        now = time.monotonic()
        return _Held(self.token, seconds, renewable, now + seconds, now + seconds * _RENEW_AFTER)


class Login:
    """One token of one source, shared by all threads of a process.

    Threads that need a new token at the same time share one login. No lock is held while Vault is asked.
    """

    def __init__(self, source: TokenSource, wire: VaultHttp) -> None:
        self._source = source
        self._wire = wire
        self._held: _Held | None = None
        self._calls: SharedCalls[str, _Held] = SharedCalls()

    @property
    def method(self) -> str:
        """The auth method's name."""
        return self._source.method

    def token(self) -> str:
        """Return a token that has not expired as far as is known.

        :raises VaultTrouble: there is none.
        """
        held = self._held
        if held is None:
            return self._calls.call("log in", self._log_in).token
        if time.monotonic() >= held.due:
            return self._calls.call("prolong", lambda: self._prolong(held)).token
        return held.token

    def replaced(self, token: str) -> str:
        """Return another token than this one, which Vault denied.

        :raises VaultDenied: the token is alive, so Vault's policy refuses the request.
        :raises VaultLoginRefused: the token has expired and the source has no other.
        """
        held = self._held
        if held is None or held.token != token:
            # Another thread has replaced it meanwhile.
            return self.token()
        return self._calls.call(f"replace {token}", lambda: self._replace(held)).token

    def _log_in(self) -> _Held:
        return self._held or self._keep(self._source.fresh())

    def _replace(self, denied: _Held) -> _Held:
        held = self._held
        if held is not None and held.token != denied.token:
            return held
        if self._alive(denied.token):
            raise VaultDenied("Vault denies the request", where=self._wire.server.address)
        fresh = self._source.fresh()
        if fresh.text == denied.token:
            raise VaultLoginRefused(
                "Vault does not accept the token: it has expired, was revoked, or belongs to another namespace",
                where=self._wire.server.address,
                remedy="replace the token, or use an auth method that can log in again (AppRole, "
                "Kubernetes, JWT ...)",
            )
        log.debug("Vault no longer accepted the token; logged in again with %s.", self._source.method)
        return self._keep(fresh)

    def _alive(self, token: str) -> bool:
        try:
            return self._wire.send("GET", "auth/token/lookup-self", token=token).ok
        except VaultDenied as denied:
            # A token without the default policy is valid but may not look itself up.
            return not denied.token_unknown

    def _keep(self, fresh: Token) -> _Held:
        _hide_from_logs(fresh.text)
        self._held = held = self._looked_up(fresh) if fresh.seconds is None else _as_told(fresh, fresh.seconds)
        return held

    def _looked_up(self, fresh: Token) -> _Held:
        held = _Held(fresh.text, renewable=fresh.renewable)
        try:
            answer = self._wire.send("GET", "auth/token/lookup-self", token=fresh.text)
        except VaultDenied:
            # A token without the default policy may not look itself up; it is used until it is denied.
            return held
        except VaultTrouble:
            self._held = None
            raise
        renewable = answer.data.get("renewable") is True
        if answer.data.get("expire_time") is None:
            return held._replace(renewable=renewable)
        # Vault truncates fractions, so the last second of a token reads 0.
        return held.lasting(max(float(answer.data.get("ttl") or 0), 0.5), renewable=renewable)

    def _prolong(self, held: _Held) -> _Held:
        """Renew, or log in again where a renewal gives little. A failure matters once the token has expired."""
        if self._held is not None and self._held is not held:
            # Another thread has done so since the token was found due.
            return self._held
        renewed = self._renewed(held)
        if renewed is not None:
            self._held = renewed
            return renewed
        try:
            fresh = self._source.fresh()
            if fresh.text != held.token:
                return self._keep(fresh)
        except VaultTrouble as trouble:
            now = time.monotonic()
            if now >= held.ends:
                self._held = None
                raise
            log.debug("The Vault token could not be renewed yet: %s", trouble.what)
            later = held._replace(due=min(now + _TRY_AGAIN_SECONDS, held.ends))
        else:
            # The source has only this token: it is used until Vault reports that it has expired.
            later = held._replace(due=math.inf)
        self._held = later
        return later

    def _renewed(self, held: _Held) -> _Held | None:
        """Return the token if a renewal gave it at least half its time. Near max_ttl Vault gives less."""
        if not held.renewable:
            return None
        try:
            answer = self._wire.send("POST", "auth/token/renew-self", {}, token=held.token)
        except VaultTrouble as trouble:
            log.debug("The Vault token could not be renewed: %s", trouble.what)
            return None
        lease = answer.auth.get("lease_duration")
        if not answer.ok or not isinstance(lease, (int, float)) or lease <= held.lease / 2:
            return None
        return held.lasting(lease, renewable=answer.auth.get("renewable") is True)


def _as_told(fresh: Token, seconds: float) -> _Held:
    held = _Held(fresh.text, renewable=fresh.renewable)
    return held.lasting(seconds, renewable=fresh.renewable) if seconds > 0 else held


def _hide_from_logs(token: str) -> None:
    """Register the token with Airflow's masker: this product does not log it, but a DAG might.

    In a triggerer nothing waits for that: Airflow answers there by the event loop, which may wait for this thread,
    or which lets other triggers continue in the middle of a request.
    """
    if not token or "airflow" not in sys.modules:
        return
    from airflow.sdk.log import mask_secret

    if in_triggerer():
        threading.Thread(target=mask_secret, args=(token,), name="secure_xcom_mask", daemon=True).start()
    else:
        mask_secret(token)

"""Calls to one Vault with one login: bounded retries where they can help, a new login where a token has ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_random_exponential

from secure_xcom.connections.vault.auth import token_source
from secure_xcom.connections.vault.endpoint import VaultEndpoint
from secure_xcom.connections.vault.http import Answer, VaultHttp
from secure_xcom.connections.vault.login import Login
from secure_xcom.core.per_process import MadeOnce, PerProcess
from secure_xcom.core.vault_errors import VaultDenied, VaultTrouble

log = logging.getLogger(__name__)

TOTAL_SECONDS = 60.0
"""After this long no request is begun again. With the usual retries and timeout only a silent Vault takes it."""

# Waits of 0 to 0.25, 0.5, 1, 2 ... 5 seconds: the workers of a deployment do not come back all at once.
_backoff = wait_random_exponential(multiplier=0.25, max=5)


class VaultClient:
    """See the module's text. Safe to be used by several threads.

    :raises ConfigurationError: the connection or the environment cannot be used.
    """

    def __init__(self, conn_id: str) -> None:
        source = token_source(conn_id)
        self.conn_id = conn_id
        self.server: VaultEndpoint = source.server
        self.wire = VaultHttp(source.server)
        self.login = Login(source, self.wire)

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, accept: Sequence[int] = ()
    ) -> Answer:
        """Send a request with a token, and retry until there is an answer.

        :raises VaultTrouble: there is none; a refusal (403) is never asked for twice with the same login.
        """
        deadline = time.monotonic() + TOTAL_SECONDS
        attempts = Retrying(
            stop=stop_after_attempt(self.server.retries + 1) | stop_after_delay(TOTAL_SECONDS),
            wait=_wait,
            retry=retry_if_exception(lambda error: isinstance(error, VaultTrouble) and error.retry),
            before_sleep=self._say,
            reraise=True,
        )
        try:
            answer = attempts(self._once, method, path, body, accept, deadline)
        except VaultTrouble as trouble:
            trouble.attempts = attempts.statistics["attempt_number"]
            raise
        return replace(answer, attempts=attempts.statistics["attempt_number"])

    def _once(
        self, method: str, path: str, body: Mapping[str, Any] | None, accept: Sequence[int], deadline: float
    ) -> Answer:
        token = self.login.token()
        try:
            return self.wire.send(method, path, body, token=token, accept=accept, deadline=deadline)
        except VaultDenied:
            token = self.login.replaced(token)
        return self.wire.send(method, path, body, token=token, accept=accept, deadline=deadline)

    def capabilities(self, paths: Sequence[str]) -> dict[str, list[str]]:
        """Return what this identity may do (``sys/capabilities-self``), by path.

        :raises VaultTrouble: it cannot be asked.
        """
        answer = self.call("POST", "sys/capabilities-self", {"paths": list(paths)})
        return {path: [str(word) for word in answer.data.get(path) or ()] for path in paths}

    def _say(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        what = error.what if isinstance(error, VaultTrouble) else "?"
        seconds = state.next_action.sleep if state.next_action else 0.0
        log.debug("%s [%s]; attempt %s, the next in %.1f s.", what, self.conn_id, state.attempt_number, seconds)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.after if isinstance(error, VaultTrouble) else 0.0
    return asked + _backoff(state)


# Two processes must not speak over one connection.
_clients = PerProcess(lambda: MadeOnce(VaultClient))


def vault_client(conn_id: str) -> VaultClient:
    """Return the client of a connection id: one per process, so that one login serves all keys and stores.

    The connection is looked up here, on this thread, and never again.

    :raises ConfigurationError: the connection or the environment cannot be used.
    """
    return _clients.get().get(conn_id)


def forget_clients() -> None:
    """Drop every login of this process. What holds a client already keeps it."""
    _clients.forget()

"""Get a Vault token from the environment, or from a login through Airflow's own Vault hook.

A source is made on the thread that may ask Airflow for connections, and asks once. Later it gives a fresh token as
often as it is asked, from any thread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from secure_xcom.connections.airflow_connections import airflow_connection, hook_with
from secure_xcom.connections.connection_ids import DEFAULT
from secure_xcom.connections.vault.endpoint import (
    VaultEndpoint,
    endpoint_from_client_kwargs,
    endpoint_from_environment,
    variable,
)
from secure_xcom.connections.vault.http import error_of_status, error_of_transport, new_session
from secure_xcom.core.errors import ExtraMissing, SettingInvalid
from secure_xcom.core.vault_errors import VaultDenied, VaultLoginRefused, VaultTrouble

if TYPE_CHECKING:
    import requests

# hvac's errors have no status; each class stands for one (hvac/exceptions.py).
_HVAC_STATUS = {
    "InvalidRequest": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "InvalidPath": 404,
    "RateLimitExceeded": 429,
    "InternalServerError": 500,
    "VaultNotInitialized": 501,
    "BadGateway": 502,
    "VaultDown": 503,
}
# The hook's own errors name only options; no other text of a login is passed on.
_COMPLAINT = re.compile(r"The '\w+' authentication type requires '\w+'(?: or '\w+')?")
_OUT_OF_TIME = ("expired", "not yet valid", "not valid yet", "issued in the future", "(exp)", "(nbf)", "(iat)")


@dataclass(frozen=True, slots=True)
class Token:
    """A token with its lifetime, as its login reported it.

    :ivar seconds: how long it lives; 0 without end, None where nothing was said.
    :ivar renewable: whether it may be renewed.
    """

    text: str = field(repr=False)
    seconds: float | None = None
    renewable: bool = False


class TokenSource(Protocol):
    """One source of tokens.

    :ivar server: the Vault that it is good for.
    :ivar method: the auth method's name, for messages.
    """

    server: VaultEndpoint
    method: str

    def fresh(self) -> Token:
        """Return a token, from a new login where the method has one.

        :raises VaultTrouble: there is none.
        """


def token_source(conn_id: str) -> TokenSource:
    """Return the source of a connection id.

    :raises ConfigurationError: the connection or the environment cannot be used.
    """
    return EnvironmentSource() if conn_id == DEFAULT else ConnectionSource(conn_id)


class EnvironmentSource:
    """``VAULT_TOKEN``, or the file of Vault Agent or ``vault login``: ``VAULT_TOKEN_FILE`` or ~/.vault-token.

    With ``VAULT_PROXY_ADDR`` or ``VAULT_AGENT_ADDR`` and neither of them, requests go without a token: the agent
    adds its own.
    """

    method = "token"

    def __init__(self) -> None:
        self.server = endpoint_from_environment()

    def fresh(self) -> Token:
        """Return the current token: an agent writes a new one into the file before the old one expires."""
        if token := variable("TOKEN"):
            return Token(token.strip())
        named = variable("TOKEN_FILE")
        path = Path(named or "~/.vault-token").expanduser()
        try:
            token = path.read_text().strip()
        except OSError as error:
            if (
                not named
                and isinstance(error, FileNotFoundError)
                and (variable("PROXY_ADDR") or variable("AGENT_ADDR"))
            ):
                return Token("")
            raise VaultLoginRefused(
                f"VAULT_TOKEN is not set and the token file cannot be read ({type(error).__name__})",
                where=str(path),
                remedy="set VAULT_TOKEN, or VAULT_TOKEN_FILE to the agent's file, or use an Airflow connection",
            ) from None
        if not token:
            raise VaultLoginRefused(
                "the token file is empty", where=str(path), remedy="check that Vault Agent logs in"
            )
        return Token(token)


class ConnectionSource:
    """A login through Airflow's `VaultHook`, with every auth method that it has.

    :raises ConnectionUnknown: Airflow has no such connection.
    :raises ExtraMissing: the hook is not installed.
    :raises SettingInvalid: the connection cannot be used.
    """

    def __init__(self, conn_id: str) -> None:
        self._where = f"connection {conn_id}"
        self._connection = airflow_connection(conn_id, where=self._where, named="the id in the URI")
        extra = self._connection.extra_dejson
        given = extra.get("client_kwargs") or {}
        if not isinstance(given, dict):
            raise SettingInvalid("`client_kwargs` in the connection's extra is not an object", where=self._where)
        self.method = str(extra.get("auth_type") or "token")
        address = self._hook().vault_client.url
        self.server = endpoint_from_client_kwargs(address, given, self._where)
        self._session = new_session(self.server)
        # The hook returns only the token, and looking up the rest would be another request in each process.
        self._session.hooks["response"].append(self._note)
        self._said: dict[str, Any] = {}

    def fresh(self) -> Token:
        """Log in. Files that the method reads (a JWT, a service account's token) are read again."""
        self._said = {}
        try:
            # `get_conn` would look the token up first, and log in twice where the token may not do this.
            hook = self._hook(session=self._session, timeout=self.server.timeout, verify=self.server.verify)
            token: str = hook.vault_client.client.token
        except Exception as error:  # noqa: BLE001  # whatever a foreign library raises becomes ours
            raise self._refusal(error) from None
        said, self._said = self._said, {}
        seconds = said.get("lease_duration")
        if said.get("client_token") != token or isinstance(seconds, bool) or not isinstance(seconds, int):
            return Token(token)
        return Token(token, seconds, said.get("renewable") is True)

    def _note(self, response: requests.Response, **_: Any) -> None:
        """Store a login (developer.hashicorp.com/vault/api-docs/auth/approle, "Login with AppRole")."""
        try:
            body = response.json()
        except ValueError:
            return
        auth = body.get("auth") if isinstance(body, dict) else None
        if isinstance(auth, dict):
            self._said = auth

    def _hook(self, **client_kwargs: Any) -> Any:
        try:
            from airflow.providers.hashicorp.hooks.vault import VaultHook
        except ImportError as error:
            raise ExtraMissing(
                f"Airflow's Vault hook cannot be imported ({error.name})",
                where=self._where,
                remedy="install secure-xcom[vault] on this worker",
            ) from None

        try:
            return hook_with(VaultHook, self._connection)(self._connection.conn_id, **client_kwargs)
        except Exception as error:  # noqa: BLE001  # whatever a foreign library raises becomes ours
            complaint = _COMPLAINT.search(str(error))
            raise SettingInvalid(
                complaint.group() if complaint else f"the hook rejects the connection ({type(error).__name__})",
                where=self._where,
                remedy="correct the connection; docs/reference/vault.md has an example for each auth method",
            ) from None

    def _refusal(self, error: Exception) -> VaultTrouble:
        if isinstance(error, SettingInvalid):
            return VaultLoginRefused(error.what, where=error.where, remedy=error.remedy)
        remedy = (
            f"try the login by hand (`vault write auth/.../login`), then correct the connection's {self.method} "
            "login or its mount point; an AppRole's secret id may have no uses left or have expired"
        )
        status = _HVAC_STATUS.get(type(error).__name__)
        if status is None:
            if isinstance(error, OSError) and error.filename:
                return VaultLoginRefused(
                    f"the file of the {self.method} login cannot be read ({type(error).__name__})",
                    where=str(error.filename),
                    remedy="check that it exists and that the worker may read it",
                )
            if type(error).__module__.split(".")[0] in ("requests", "urllib3"):
                return error_of_transport(error, self.server.address)
            return VaultLoginRefused(
                f"the {self.method} login failed ({type(error).__name__})", where=self._where, remedy=remedy
            )
        texts = [str(text) for text in getattr(error, "errors", None) or ()]
        words = " ".join(texts).lower()
        trouble = error_of_status(status, texts, self.server.address)
        if trouble.retry:
            return trouble
        if any(mark in words for mark in _OUT_OF_TIME):
            return VaultLoginRefused(
                f"the {self.method} login failed: by Vault's clock the JWT has expired or is not valid yet",
                where=self._where,
                remedy="give the worker a new JWT, and synchronize the clocks of Vault, of this machine and of "
                "the JWT's issuer",
            )
        if status == 404:
            return VaultLoginRefused(
                f"there is no auth method for the {self.method} login at its mount point"
                + (f" in namespace {self.server.namespace!r:.80}" if self.server.namespace else ""),
                where=self._where,
                remedy="enable the auth method (`vault auth enable`), or correct mount point and namespace",
            )
        # Vault's answer for a path without an auth method is the one for an unknown token.
        denied = "denies the {} login, or has no such auth method at its mount point"
        what = denied if isinstance(trouble, VaultDenied) else "rejects the {} login"
        return VaultLoginRefused(f"Vault {what.format(self.method)}", where=self._where, remedy=remedy)

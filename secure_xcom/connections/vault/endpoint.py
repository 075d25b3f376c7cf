"""Where a Vault is, how its certificate is proved, and how long it may take.

From the environment the variables of Vault's own command are read, each as ``VAULT_NAME`` or else ``BAO_NAME``
(developer.hashicorp.com/vault/docs/commands, openbao.org/docs/commands).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secure_xcom.core.errors import SettingInvalid, SettingMissing

TIMEOUT_SECONDS = 10.0
"""How long a connection, and then each silence of Vault, may last unless it is set otherwise."""

RETRIES = 4
"""How often a request is sent again, where that can help, unless VAULT_MAX_RETRIES says otherwise."""

# The part of Go's durations that Vault's documentation uses.
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|)")
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True)
class VaultEndpoint:
    """One Vault as seen from here.

    :param address: with scheme, without a slash at its end.
    :param namespace: of Vault Enterprise or OpenBao, or nothing.
    :param verify: True for the system's CAs, the path of a CA bundle, or False for no proof at all.
    :param cert: the client certificate's path, or the paths of certificate and key, for mutual TLS.
    :param timeout: in seconds, for the connection and for each silence after it.
    """

    address: str
    namespace: str = ""
    verify: bool | str = True
    cert: str | tuple[str, str] | None = None
    proxies: Mapping[str, str] | None = None
    timeout: float = TIMEOUT_SECONDS
    retries: int = RETRIES


def variable(name: str) -> str:
    """Return ``VAULT_NAME``, by default ``BAO_NAME``."""
    return os.environ.get(f"VAULT_{name}") or os.environ.get(f"BAO_{name}") or ""


def endpoint_from_environment() -> VaultEndpoint:
    """Return the Vault of the environment. As in Vault's own CLI, an agent or proxy comes first.

    :raises SettingMissing: no address is set; :raises SettingInvalid: it is not one that can be used.
    """
    address = variable("PROXY_ADDR") or variable("AGENT_ADDR") or variable("ADDR")
    if not address:
        raise SettingMissing(
            "VAULT_ADDR is not set, so the `default` connection has no address",
            where="environment of this process",
            remedy="set VAULT_ADDR and VAULT_TOKEN in the environment of this process; a URI can name an "
            "Airflow connection instead",
        )
    return VaultEndpoint(
        address=checked_address(address, "VAULT_ADDR"),
        namespace=variable("NAMESPACE").strip("/"),
        verify=verify_from_environment(),
        cert=cert_from_environment(),
        timeout=timeout_from_environment(),
        retries=retries_from_environment(),
    )


def endpoint_from_client_kwargs(address: str, given: Mapping[str, Any], where: str) -> VaultEndpoint:
    """Return the Vault of an Airflow connection: its address and its ``client_kwargs``, which are hvac's.

    What the connection does not say of TLS and time is taken from the environment of this machine.

    :raises SettingInvalid: a value that cannot be used.
    """
    cert = given.get("cert")
    timeout = given.get("timeout")
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout <= 0
    ):
        raise SettingInvalid("`timeout` of the client_kwargs is not a number of seconds", where=where)
    return VaultEndpoint(
        address=checked_address(address, where),
        namespace=str(given.get("namespace") or "").strip("/"),
        verify=given.get("verify", verify_from_environment()),
        cert=tuple(cert) if isinstance(cert, list) else cert or cert_from_environment(),
        proxies=given.get("proxies"),
        timeout=float(timeout or timeout_from_environment()),
        retries=retries_from_environment(),
    )


def checked_address(address: str, where: str) -> str:
    """Return the address without a slash at its end.

    :raises SettingInvalid: it is not http or https.
    """
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", address):
        raise SettingInvalid(
            "the address of Vault is not of the form https://HOST:PORT",
            where=where,
            remedy="write https://HOST:PORT; sockets and credentials in the address are not supported",
        )
    return address.rstrip("/")


def verify_from_environment() -> bool | str:
    """Return VAULT_CACERT, by default VAULT_CAPATH, as Vault does; `check` reports VAULT_SKIP_VERIFY."""
    if variable("SKIP_VERIFY").lower() in ("1", "t", "true"):
        return False
    return variable("CACERT") or variable("CAPATH") or True


def cert_from_environment() -> str | tuple[str, str] | None:
    """Return VAULT_CLIENT_CERT and VAULT_CLIENT_KEY."""
    cert, key = variable("CLIENT_CERT"), variable("CLIENT_KEY")
    return (cert, key) if cert and key else cert or None


def timeout_from_environment() -> float:
    """Return VAULT_CLIENT_TIMEOUT in seconds.

    :raises SettingInvalid: it is not a duration.
    """
    text = variable("CLIENT_TIMEOUT")
    if not text:
        return TIMEOUT_SECONDS
    form = _DURATION.fullmatch(text)
    seconds = float(form.group(1)) * _UNITS[form.group(2)] if form else 0.0
    if seconds <= 0:
        raise SettingInvalid(f"{text!r:.40} is not a duration such as 10s", where="VAULT_CLIENT_TIMEOUT")
    return seconds


def retries_from_environment() -> int:
    """Return VAULT_MAX_RETRIES.

    :raises SettingInvalid: it is not a whole number from 0.
    """
    text = variable("MAX_RETRIES")
    if text and not re.fullmatch(r"\d{1,2}", text):
        raise SettingInvalid(f"{text!r:.40} is not a whole number from 0 to 99", where="VAULT_MAX_RETRIES")
    return int(text) if text else RETRIES

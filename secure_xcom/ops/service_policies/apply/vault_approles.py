"""Credentials of the AppRoles that `secure_xcom.ops.service_policies.apply.vault_setup` makes, and the Airflow
connections that hold them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from secure_xcom.connections.vault.client import VaultClient
from secure_xcom.core.errors import SettingInvalid
from secure_xcom.core.vault_errors import VaultRefused
from secure_xcom.ops.service_policies.apply.vault_setup import AppRole, Wanted, read
from secure_xcom.ops.service_policies.credentials.connection_files import vault_connection
from secure_xcom.ops.service_policies.credentials.logins import Login


@dataclass(frozen=True, slots=True)
class Credentials:
    """How one AppRole logs in."""

    role: AppRole
    role_id: str
    secret_id: str = field(repr=False)


def credentials(client: VaultClient, wanted: Wanted, role: AppRole) -> Credentials:
    """Return new credentials of an AppRole. Earlier secret ids stay valid until they expire or are destroyed.

    :raises VaultTrouble: Vault returns none.
    """
    path = f"auth/{wanted.approle_mount}/role/{wanted.policy(role)}"
    role_id = read(client, f"{path}/role-id").get("role_id")
    secret_id = client.call("POST", f"{path}/secret-id", {}).data.get("secret_id")
    if not isinstance(role_id, str) or not isinstance(secret_id, str):
        raise VaultRefused(
            f"Vault returns no credentials for {wanted.policy(role)}",
            remedy="apply the plan first (`init --vault`)",
        )
    return Credentials(role, role_id, secret_id)


def airflow_connection_line(client: VaultClient, wanted: Wanted, login: Credentials, conn_id: str) -> str:
    """Return ``AIRFLOW_CONN_ID='{...}'``, the connection of an AppRole. It contains the secret id: never log it.

    :raises SettingInvalid: the address has a path, which Airflow's Vault hook does not support.
    """
    connection = vault_connection(client.server, wanted.approle_mount, Login(login.role_id, login.secret_id))
    return f"AIRFLOW_CONN_{conn_id.upper()}='{json.dumps(connection)}'"


def write_private(path: Path, text: str) -> None:
    """Create a file that only its owner can read.

    :raises SettingInvalid: it exists, or cannot be created.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SettingInvalid(
            f"the file cannot be created ({type(error).__name__})",
            where=str(path),
            remedy="name a new file in an existing folder",
        ) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(text)

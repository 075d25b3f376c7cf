"""The connections of one identity, in the form of Airflow's LocalFilesystemBackend.

Every identity gets its logins under the ids that the access policy's URIs name, so each worker has its own file
with the same ids in it. Source: ``airflow/secrets/local_filesystem.py``, JSON with one object for each connection.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from secure_xcom.connections.connection_ids import connection_id
from secure_xcom.connections.vault.endpoint import VaultEndpoint
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import SettingInvalid
from secure_xcom.ops.service_policies.credentials.logins import Login
from secure_xcom.ops.service_policies.grants import grants_of

_VAULT_SCHEMES = ("vault", "vault-kv")


@dataclass(frozen=True, slots=True)
class Ids:
    """The connection ids that an identity's URIs name, and those URIs that name none."""

    vault: tuple[str, ...]
    s3: tuple[str, ...]
    without: tuple[str, ...]


def ids_of(policy: AccessPolicy, identity: Identity) -> Ids:
    """Return the connections that an identity needs at Vault and at the S3 server."""
    names = dict.fromkeys(grant.compartment for grant in grants_of(policy, identity))
    uris = dict.fromkeys(uri for name in names for uri in _uris(policy, name))
    vault, s3, without = [], [], []
    for uri in uris:
        scheme = uri.partition("://")[0]
        if scheme not in (*_VAULT_SCHEMES, "s3"):
            continue
        conn_id = connection_id(uri)
        if conn_id is None:
            without.append(uri)
        elif scheme == "s3":
            s3.append(conn_id)
        else:
            vault.append(conn_id)
    return Ids(tuple(dict.fromkeys(vault)), tuple(dict.fromkeys(s3)), tuple(without))


def _uris(policy: AccessPolicy, name: str) -> Iterator[str]:
    compartment = policy.compartment(name)
    yield from compartment.all_key_uris
    yield from compartment.all_store_uris


def vault_connection(server: VaultEndpoint, mount: str, login: Login) -> dict[str, Any]:
    """Return the connection of an AppRole. It holds the secret id: never log it.

    :raises SettingInvalid: the address has a path, which Airflow's Vault hook does not support.
    """
    parts = urlsplit(server.address)
    if parts.path:
        raise SettingInvalid("Airflow's Vault hook does not support a path in the address", where=server.address)
    client_kwargs: dict[str, Any] = {}
    if server.namespace:
        client_kwargs["namespace"] = server.namespace
    if isinstance(server.verify, str):
        client_kwargs["verify"] = server.verify
    extra: dict[str, Any] = {"auth_type": "approle", "use_tls": parts.scheme == "https"}
    if mount != "approle":
        extra["auth_mount_point"] = mount
    if client_kwargs:
        extra["client_kwargs"] = client_kwargs
    return {
        "conn_type": "vault",
        "host": f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname,
        "port": parts.port,
        "login": login.name,
        "password": login.secret,
        "extra": extra,
    }


def s3_connection(endpoint: str | None, region: str | None, login: Login) -> dict[str, Any]:
    """Return the connection of an IAM user. It holds the secret key: never log it."""
    options = {"endpoint_url": endpoint, "region_name": region}
    extra = {name: value for name, value in options.items() if value}
    return {"conn_type": "aws", "login": login.name, "password": login.secret, "extra": extra}


def login_in(connections: Mapping[str, Any], conn_ids: tuple[str, ...]) -> Login | None:
    """Return the login that a file has under the first of these ids, or None."""
    connection = connections.get(conn_ids[0]) if conn_ids else None
    if not isinstance(connection, dict):
        return None
    name, secret = connection.get("login"), connection.get("password")
    return Login(name, secret) if isinstance(name, str) and isinstance(secret, str) else None


def dump(connections: Mapping[str, Any]) -> str:
    """Return the text of the file."""
    return json.dumps(connections, indent=2, sort_keys=True) + "\n"


def parse(text: str | None, where: str) -> dict[str, Any]:
    """Return the connections of a file's text.

    :raises SettingInvalid: it is no JSON object.
    """
    if text is None:
        return {}
    try:
        connections = json.loads(text)
    except ValueError:
        connections = None
    if not isinstance(connections, dict):
        raise SettingInvalid(
            "the file is not a JSON object", where=where, remedy="move it away and run this again"
        )
    return connections

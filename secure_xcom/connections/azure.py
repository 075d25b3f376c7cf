"""One Azure Blob Storage: account, endpoint, credentials, proxy and certificates for every client of a container.

The rules are those of Azure's SDK, and a store URI and a connection come before the environment. obstore and the
SDK are then told all of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from secure_xcom.connections.airflow_connections import hook_with
from secure_xcom.connections.extras import (
    connection_of,
    extra_of,
    missing,
    refused,
    renewed,
    warn_of_unknown,
)
from secure_xcom.connections.network import Network, requests_network
from secure_xcom.core.errors import UriInvalid

if TYPE_CHECKING:
    from obstore.store import AzureCredential

_HOOK = {
    "connection_string",
    "tenant_id",
    "shared_access_key",
    "sas_token",
    "account_key",
    "managed_identity_client_id",
    "workload_identity_tenant_id",
    "client_secret_auth_config",
}
_SCOPE = "https://storage.azure.com/.default"


@dataclass(frozen=True, slots=True)
class AzureAccess:
    """All that a client of one container has to be told.

    :ivar credential: as Azure's SDK takes it (a key, a signature or a token credential), or None where the SDK is
        not installed and obstore logs in by itself.
    """

    account: str
    network: Network
    credential: Any = field(default=None, repr=False)
    sas: str = field(default="", repr=False)

    @property
    def credentials(self) -> Callable[[], AzureCredential] | None:
        """Return the function that obstore calls for new credentials."""
        return _credentials(self.credential, self.sas)

    def service(self, uri: str) -> Any:
        """Return Azure's own client of the account, which reads nothing from the environment.

        :raises ExtraMissing: the SDK is not installed.
        """
        try:
            from azure.core.credentials import AzureSasCredential
            from azure.storage.blob import BlobServiceClient
        except ImportError as error:
            raise missing("azure", error, uri) from None
        return BlobServiceClient(
            self.network.endpoint,
            credential=self.credential or (AzureSasCredential(self.sas) if self.sas else None),
            proxies=self.network.proxies,
            connection_verify=self.network.verify,
            use_env_settings=False,
        )


def azure_access(conn_id: str | None, options: Mapping[str, str], uri: str) -> AzureAccess:
    """Return how to reach an account. Look up the connection here, on the calling thread.

    :param options: ``account`` and ``endpoint`` of the store URI.
    :raises ConnectionUnknown: Airflow has no such connection.
    :raises SettingInvalid: the connection cannot be used.
    :raises UriInvalid: no account is named.
    :raises ExtraMissing: WasbHook is not installed.
    """
    if conn_id:
        return _of_connection(conn_id, options, uri)
    account = options.get("account") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise UriInvalid(
            "neither a connection nor an account is named",
            where=f"store URI {uri}",
            remedy="write abfs://conn_id@container/prefix, or add ?account=NAME for the default credentials",
        )
    network = requests_network(_endpoint(options, f"https://{account}.blob.core.windows.net"))
    key = os.environ.get("AZURE_STORAGE_ACCOUNT_KEY")
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError:
        return AzureAccess(account, network, key)
    return AzureAccess(account, network, key or DefaultAzureCredential())


def _of_connection(conn_id: str, options: Mapping[str, str], uri: str) -> AzureAccess:
    connection = connection_of(conn_id, uri)
    names = {name.removeprefix("extra__wasb__") for name in extra_of(connection, uri)}
    warn_of_unknown(connection, names, _HOOK, "extra, other than for payloads over 8 MiB,")
    try:
        from airflow.providers.microsoft.azure.hooks.wasb import WasbHook
    except ImportError as error:
        raise missing("azure", error, uri) from None

    try:
        service = hook_with(WasbHook, connection)(wasb_conn_id=conn_id).get_conn()
        url, _, sas = str(service.url).rstrip("/").partition("?")
        account = options.get("account") or str(service.account_name or connection.login or "")
        return AzureAccess(account, requests_network(_endpoint(options, url)), service.credential, sas)
    except Exception as error:  # noqa: BLE001  # any error of a hook becomes one of ours
        raise refused(connection, error, uri) from None


def _endpoint(options: Mapping[str, str], otherwise: str) -> str:
    return (options.get("endpoint") or otherwise).rstrip("/")


def _credentials(credential: Any, sas: str) -> Callable[[], AzureCredential] | None:
    key = credential if isinstance(credential, str) else getattr(credential, "account_key", None)
    if key:
        return lambda: {"access_key": key, "expires_at": None}
    signature = getattr(credential, "signature", None) or sas
    if signature:
        return lambda: {"sas_token": signature, "expires_at": None}
    if credential is None:
        return None

    def current() -> AzureCredential:
        # azure-identity caches the token and renews it some minutes before it expires.
        token = renewed(lambda: credential.get_token(_SCOPE))
        return {"token": token.token, "expires_at": datetime.fromtimestamp(token.expires_on, timezone.utc)}

    return current

"""Azure Blob Storage as a bucket.

    abfs://CONN_ID@CONTAINER/PREFIX     credentials of an Airflow connection (WasbHook: account key, SAS token,
                                        connection string, client secret, managed and workload identity)
    abfs://CONTAINER/PREFIX             Azure's default credentials, with ``?account=NAME`` or
                                        AZURE_STORAGE_ACCOUNT_NAME in the environment

Options after a ``?``: those of `secure_xcom.stores.bucket_uri.Transport`, ``account``, ``endpoint``,
``access_tier`` (Hot, Cool, Cold). Encryption at rest and its keys are the account's own settings.

Roles: *Storage Blob Data Contributor* on the container, or a custom role with ``blobs/add/action`` (push),
``blobs/read`` (pull, and listing), ``blobs/delete`` (maintenance); payloads over 8 MiB need ``blobs/write``.
Blocks of a failed upload are never visible, and Azure discards them after a week.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from secure_xcom.connections import hook_with
from secure_xcom.core.errors import UriInvalid
from secure_xcom.stores.airflow_connection import (
    connection_of,
    extra_of,
    missing,
    refused,
    renewed,
    warn_of_unknown,
)
from secure_xcom.stores.bucket import Parts, client_options, put_parts, retry_config
from secure_xcom.stores.bucket_uri import BucketUri, Transport, read_options

if TYPE_CHECKING:
    from obstore.store import AzureCredential, AzureStore

_OPTIONS: dict[str, tuple[str, ...] | None] = {
    "account": None,
    "endpoint": None,
    "access_tier": ("Hot", "Cool", "Cold"),
}
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
# Metadata names of Azure are C# identifiers.
_MARK = "secure_xcom_upload"


@dataclass(frozen=True, slots=True)
class _Access:
    """An account and an identity in it."""

    account: str
    endpoint: str
    service: Callable[[], Any] = field(repr=False)
    """A BlobServiceClient, for large puts."""

    credentials: Callable[[], AzureCredential] | None = field(default=None, repr=False)
    """None for obstore's own default credential chain."""


class AzureBucket:
    """A container of Azure Blob Storage.

    :raises UriInvalid: the URI or one of its options is invalid, or no account is named.
    :raises ConnectionUnknown: Airflow has no such connection.
    :raises SettingInvalid: the connection cannot be used.
    :raises ExtraMissing: WasbHook is not installed.
    """

    network = True

    def __init__(self, uri: str) -> None:
        self._place = BucketUri.parse(uri, "abfs")
        self.uri = self._place.uri
        if not self._place.bucket.replace("-", "").isalnum():
            raise UriInvalid(
                "a container's name has no dots",
                where=f"store URI {self.uri}",
                remedy="write abfs://conn_id@container/prefix; the connection names the account",
            )
        self._transport, self._options = read_options(self._place, _OPTIONS)
        self._access = (
            _of_connection(self._place, self._place.conn_id)
            if self._place.conn_id
            else _of_default_chain(self._place, self._options)
        )
        tier = self._options.get("access_tier")
        self.attributes: Mapping[str, str] = {"Storage-Class": tier} if tier else {}

    def client(self) -> AzureStore:
        from obstore.store import AzureStore

        endpoint = self._options.get("endpoint") or self._access.endpoint
        return AzureStore(
            self._place.bucket,
            prefix=self._place.prefix or None,
            config={"account_name": self._options.get("account") or self._access.account, "endpoint": endpoint},
            client_options=client_options(self._transport, allow_http=endpoint.startswith("http://")),
            retry_config=retry_config(self._transport),
            credential_provider=self._access.credentials,
        )

    def put_large(self, path: str, parts: Parts) -> None:
        """Upload blocks and commit them on the condition that no blob exists yet."""
        try:
            from azure.core import MatchConditions
            from azure.storage.blob import BlobBlock
        except ImportError as error:
            raise missing("azure", error, self.uri) from None
        if self._access.credentials:
            # Requested first, so that a failing login is not mistaken for a denied put.
            self._access.credentials()
        key = f"{self._place.prefix}/{path}".removeprefix("/")
        blob = self._access.service().get_blob_client(self._place.bucket, key)
        mark = os.urandom(16).hex()
        patience = _patience(self._transport)

        def put_part(number: int, part: bytearray) -> str:
            # Uncommitted blocks belong to the blob's name, so those of another writer must have other ids.
            block = f"{mark}-{number:05d}"
            blob.stage_block(block, part, length=len(part), **patience)
            return block

        blocks = [BlobBlock(block) for block in put_parts(parts, put_part)]
        try:
            blob.commit_block_list(
                blocks,
                metadata={_MARK: mark},
                match_condition=MatchConditions.IfMissing,
                standard_blob_tier=self._options.get("access_tier"),
                **patience,
            )
        except Exception:
            # A commit whose response was lost is sent again, and then finds the blob. With our mark, it is ours.
            if not _is_marked(blob, mark):
                raise


def _patience(transport: Transport) -> dict[str, Any]:
    """Return the store URI's options as request options of Azure's SDK, because the client is the hook's."""
    retries, waited = 0, 0
    # Its pauses are 15, 18, 24, 42 ... seconds (azure-storage-blob, ExponentialRetry), the same for every request.
    while retries < transport.retries:
        waited += 15 + (3**retries if retries else 0)
        if waited > transport.retry_seconds:
            break
        retries += 1
    return {
        "connection_timeout": transport.connect_timeout,
        "read_timeout": transport.timeout,
        "retry_total": retries,
    }


def _is_marked(blob: Any, mark: str) -> bool:
    try:
        return bool(blob.get_blob_properties().metadata.get(_MARK) == mark)
    except Exception:  # noqa: BLE001  # a writer may not be allowed to read it: then it cannot be confirmed as ours
        return False


def _of_connection(place: BucketUri, conn_id: str) -> _Access:
    connection = connection_of(conn_id, place.uri)
    names = {name.removeprefix("extra__wasb__") for name in extra_of(connection, place.uri)}
    warn_of_unknown(connection, names, _HOOK, "extra, other than for payloads over 8 MiB,")
    try:
        from airflow.providers.microsoft.azure.hooks.wasb import WasbHook
    except ImportError as error:
        raise missing("azure", error, place.uri) from None

    try:
        service = hook_with(WasbHook, connection)(wasb_conn_id=conn_id).get_conn()
        endpoint, _, sas = str(service.url).rstrip("/").partition("?")
        return _Access(
            account=str(service.account_name or connection.login or ""),
            endpoint=endpoint.rstrip("/"),
            service=lambda: service,
            credentials=_credentials(service.credential, sas),
        )
    except Exception as error:  # noqa: BLE001  # any error of a hook becomes one of ours
        raise refused(connection, error, place.uri) from None


def _of_default_chain(place: BucketUri, options: Mapping[str, str]) -> _Access:
    account = options.get("account") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise UriInvalid(
            "neither a connection nor an account is named",
            where=f"store URI {place.uri}",
            remedy="write abfs://conn_id@container/prefix, or add ?account=NAME for the default credentials",
        )
    endpoint = options.get("endpoint") or f"https://{account}.blob.core.windows.net"
    key = os.environ.get("AZURE_STORAGE_ACCOUNT_KEY")
    try:
        from azure.identity import DefaultAzureCredential
        from azure.storage.blob import BlobServiceClient
    except ImportError as error:
        problem = missing("azure", error, place.uri)

        def no_service() -> Any:
            raise problem

        return _Access(account, endpoint, no_service)
    credential: Any = key or DefaultAzureCredential()
    return _Access(
        account,
        endpoint,
        service=lambda: BlobServiceClient(endpoint, credential=credential),
        credentials=_credentials(credential, ""),
    )


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

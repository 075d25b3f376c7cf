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
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from secure_xcom.connections.azure import azure_access
from secure_xcom.connections.extras import missing
from secure_xcom.core.errors import UriInvalid
from secure_xcom.stores.bucket import Parts, client_options, put_parts, retry_config
from secure_xcom.stores.bucket_uri import BucketUri, Transport, read_options
from secure_xcom.stores.native_environment import hidden_from_obstore

if TYPE_CHECKING:
    from obstore.store import AzureConfig, AzureStore

_OPTIONS: dict[str, tuple[str, ...] | None] = {
    "account": None,
    "endpoint": None,
    "access_tier": ("Hot", "Cool", "Cold"),
}
# Metadata names of Azure are C# identifiers.
_MARK = "secure_xcom_upload"


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
        self._access = azure_access(self._place.conn_id, self._options, self.uri)
        self.endpoint = self._access.network.endpoint
        self._http = client_options(
            self._transport,
            self._access.network,
            f"store URI {self.uri}",
            logs_in=self._access.credentials is None,
        )
        tier = self._options.get("access_tier")
        self.attributes: Mapping[str, str] = {"Storage-Class": tier} if tier else {}

    def client(self) -> AzureStore:
        from obstore.store import AzureStore

        # Every option, because each one that is left out would be taken from the environment.
        config: AzureConfig = {
            "account_name": self._access.account,
            "endpoint": self.endpoint,
            "use_emulator": False,
            "use_fabric_endpoint": False,
            "skip_signature": False,
            "disable_tagging": False,
        }
        with hidden_from_obstore():
            return AzureStore(
                self._place.bucket,
                prefix=self._place.prefix or None,
                config=config,
                client_options=self._http,
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
        blob = self._access.service(self.uri).get_blob_client(self._place.bucket, key)
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

"""Google Cloud Storage as a bucket.

    gs://CONN_ID@BUCKET/PREFIX      credentials of an Airflow connection (GoogleBaseHook: key file, key secret,
                                    credential configuration, impersonation)
    gs://BUCKET/PREFIX              Google's application default credentials

Options after a ``?``: those of `secure_xcom.stores.bucket_uri.Transport`, ``endpoint``, ``storage_class``
(STANDARD, NEARLINE, COLDLINE, ARCHIVE). Encryption at rest and its keys are the bucket's own settings.

Roles on the bucket, conditioned on ``resource.name`` below the prefix: *Storage Object Creator* to push, *Storage
Object Viewer* to pull (it lists too), *Storage Object User* for maintenance. Creator cannot overwrite either.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from secure_xcom.connections.extras import missing
from secure_xcom.connections.google import gcs_access
from secure_xcom.stores.bucket import PART_BYTES, Parts, client_options, retry_config
from secure_xcom.stores.bucket_uri import BucketUri, read_options
from secure_xcom.stores.native_environment import hidden_from_obstore

if TYPE_CHECKING:
    from obstore.store import GCSConfig, GCSStore

_OPTIONS: dict[str, tuple[str, ...] | None] = {
    "endpoint": None,
    "storage_class": ("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"),
}
# User metadata of a large object, by which a put whose response was lost recognizes its own object.
_MARK = "secure-xcom-upload"


class GcsBucket:
    """A bucket of Google Cloud Storage.

    :raises UriInvalid: the URI or one of its options is invalid.
    :raises ConnectionUnknown: Airflow has no such connection.
    :raises SettingInvalid: the connection cannot be used.
    :raises ExtraMissing: GoogleBaseHook is not installed.
    """

    network = True

    def __init__(self, uri: str) -> None:
        self._place = BucketUri.parse(uri, "gs")
        self.uri = self._place.uri
        self._transport, self._options = read_options(self._place, _OPTIONS)
        self._access = gcs_access(self._place.conn_id, self._options.get("endpoint"), self.uri)
        self.endpoint = self._access.network.endpoint
        self._http = client_options(
            self._transport,
            self._access.network,
            f"store URI {self.uri}",
            logs_in=self._access.token is None,
        )
        storage_class = self._options.get("storage_class")
        self.attributes: Mapping[str, str] = {"Storage-Class": storage_class} if storage_class else {}

    def client(self) -> GCSStore:
        from obstore.store import GCSStore

        access = self._access
        # Every option, because each one that is left out would be taken from the environment.
        config: GCSConfig = {"base_url": self.endpoint, "skip_signature": access.anonymous}
        with hidden_from_obstore():
            return GCSStore(
                self._place.bucket,
                prefix=self._place.prefix or None,
                config=config,
                client_options=self._http,
                retry_config=retry_config(self._transport),
                credential_provider=access.token,
            )

    def put_large(self, path: str, parts: Parts) -> None:
        """Put with a resumable upload on the condition that no object exists yet; cancel it if it fails."""
        try:
            from google.cloud.storage import Client
            from google.cloud.storage.retry import DEFAULT_RETRY
        except ImportError as error:
            raise missing("gcp", error, self.uri) from None
        if not self._access.anonymous and self._access.token is not None:
            # Requested first, so that a failing login is not mistaken for a denied put.
            self._access.token()
        client = Client(
            project=self._access.project or "none",  # A bucket's name is enough to find objects.
            credentials=self._access.credentials,
            client_options={"api_endpoint": self.endpoint},
            _http=self._access.session(),
        )
        mark = os.urandom(16).hex()
        blob = client.bucket(self._place.bucket).blob(f"{self._place.prefix}/{path}".removeprefix("/"))
        blob.metadata = {_MARK: mark}
        if "storage_class" in self._options:
            blob.storage_class = self._options["storage_class"]
        transport = self._transport
        upload = blob.open(
            "wb",
            chunk_size=PART_BYTES,
            ignore_flush=True,
            if_generation_match=0,
            timeout=(transport.connect_timeout, transport.timeout),
            # Google's SDK limits only seconds.
            retry=DEFAULT_RETRY.with_timeout(transport.retry_seconds) if transport.retries else None,
        )
        try:
            for part in parts:
                upload.write(part)
                parts.give_back(part)
        except BaseException:
            _cancel(upload)
            raise
        try:
            upload.close()
        except BaseException as error:
            # A completion whose response was lost is sent again, and then finds the object. With our mark, it is
            # ours.
            if isinstance(error, Exception) and _is_marked(blob, mark):
                _forget(upload)
                return
            _cancel(upload)
            raise


def _cancel(upload: Any) -> None:
    # The upload's own terminate() deletes the URL that starts uploads, not the upload's own URL
    # (google-cloud-storage 3.17, fileio.py). Google discards leftovers after a week.
    started = getattr(upload, "_upload_and_transport", None)
    _forget(upload)
    with contextlib.suppress(Exception):
        if started:
            session, transport = started
            transport.delete(session.resumable_url)


def _forget(upload: Any) -> None:
    # Like any Python file, an open one closes itself when it is collected, which would complete the object with
    # the bytes sent so far. Without an upload, terminate() only closes.
    upload._upload_and_transport = None
    upload.terminate()


def _is_marked(blob: Any, mark: str) -> bool:
    try:
        blob.reload()
    except Exception:  # noqa: BLE001  # a writer may not be allowed to read it: then it cannot be confirmed as ours
        return False
    return bool((blob.metadata or {}).get(_MARK) == mark)

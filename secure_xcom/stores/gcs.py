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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timezone
from typing import TYPE_CHECKING, Any

from secure_xcom.connections import hook_with
from secure_xcom.stores.airflow_connection import (
    connection_of,
    extra_of,
    missing,
    refused,
    renewed,
    warn_of_unknown,
)
from secure_xcom.stores.bucket import PART_BYTES, Parts, client_options, retry_config
from secure_xcom.stores.bucket_uri import BucketUri, read_options

if TYPE_CHECKING:
    from obstore.store import GCSConfig, GCSCredential, GCSStore

_OPTIONS: dict[str, tuple[str, ...] | None] = {
    "endpoint": None,
    "storage_class": ("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"),
}
# The options that GoogleBaseHook makes credentials of. Its num_retries is for other services; use retries= here.
_HOOK = {
    "project",
    "key_path",
    "keyfile_dict",
    "key_secret_name",
    "key_secret_project_id",
    "credential_config_file",
    "scope",
    "impersonation_chain",
    "is_anonymous",
    "idp_issuer_url",
    "client_id",
    "client_secret",
    "idp_extra_params",
    "quota_project_id",
}
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
# User metadata of a large object, by which a put whose response was lost recognizes its own object.
_MARK = "secure-xcom-upload"


@dataclass(frozen=True, slots=True)
class _Access:
    """An identity: google.auth's credentials, or None for obstore's own default chain."""

    credentials: Any = field(default=None, repr=False)
    anonymous: bool = False
    project: str | None = None


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
        self._access = (
            _of_connection(self._place, self._place.conn_id) if self._place.conn_id else _of_default_chain()
        )
        storage_class = self._options.get("storage_class")
        self.attributes: Mapping[str, str] = {"Storage-Class": storage_class} if storage_class else {}

    def client(self) -> GCSStore:
        from obstore.store import GCSStore

        endpoint = self._options.get("endpoint", "")
        config: GCSConfig = {}
        if endpoint:
            config["base_url"] = endpoint
        if self._access.anonymous:
            config["skip_signature"] = True
        credentials = None if self._access.anonymous else self._access.credentials
        return GCSStore(
            self._place.bucket,
            prefix=self._place.prefix or None,
            config=config,
            client_options=client_options(self._transport, allow_http=endpoint.startswith("http://")),
            retry_config=retry_config(self._transport),
            credential_provider=_renewing(credentials) if credentials is not None else None,
        )

    def put_large(self, path: str, parts: Parts) -> None:
        """Put with a resumable upload on the condition that no object exists yet; cancel it if it fails."""
        try:
            from google.cloud.storage import Client
            from google.cloud.storage.retry import DEFAULT_RETRY
        except ImportError as error:
            raise missing("gcp", error, self.uri) from None
        access = self._access
        if access.credentials is not None and not access.anonymous:
            # Requested first, so that a failing login is not mistaken for a denied put.
            _renewing(access.credentials)()
        endpoint = self._options.get("endpoint")
        client = Client(
            project=access.project or "none",  # A bucket's name is enough to find objects.
            credentials=access.credentials,
            client_options={"api_endpoint": endpoint} if endpoint else None,
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


def _of_connection(place: BucketUri, conn_id: str) -> _Access:
    connection = connection_of(conn_id, place.uri)
    names = {name.removeprefix("extra__google_cloud_platform__") for name in extra_of(connection, place.uri)}
    warn_of_unknown(connection, names, _HOOK, "extra")
    try:
        from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
        from google.auth.credentials import AnonymousCredentials
    except ImportError as error:
        raise missing("gcp", error, place.uri) from None

    try:
        hook = hook_with(GoogleBaseHook, connection)(gcp_conn_id=conn_id)
        credentials, project = hook.get_credentials_and_project_id()
    except Exception as error:  # noqa: BLE001  # any error of a hook becomes one of ours
        raise refused(connection, error, place.uri) from None
    return _Access(credentials, isinstance(credentials, AnonymousCredentials), project)


def _of_default_chain() -> _Access:
    try:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError
    except ImportError:
        return _Access()
    try:
        credentials, project = google.auth.default(scopes=[_SCOPE])
    except DefaultCredentialsError:
        # obstore searches the same places, and its first request reports what is missing.
        return _Access()
    return _Access(credentials, project=project)


def _renewing(credentials: Any) -> Callable[[], GCSCredential]:
    def current() -> GCSCredential:
        from google.auth.transport.requests import Request

        if not credentials.valid:
            renewed(lambda: credentials.refresh(Request()))
        ends = credentials.expiry
        # google.auth's times are in UTC, without a time zone.
        return {"token": credentials.token, "expires_at": ends.replace(tzinfo=timezone.utc) if ends else None}

    return current

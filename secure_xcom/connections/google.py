"""One Google Cloud Storage: endpoint, credentials, proxy and certificates for every client of a bucket.

The rules are those of Google's SDK (google-cloud-storage, ``client.py``), and a store URI and a connection come
before the environment. obstore and the SDK are then told all of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timezone
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
from secure_xcom.connections.network import ENDPOINT_REMEDY, Network, is_endpoint, requests_network
from secure_xcom.core.errors import SettingInvalid

if TYPE_CHECKING:
    from obstore.store import GCSCredential

_ENDPOINT = "https://storage.googleapis.com"
_VARIABLES = ("STORAGE_EMULATOR_HOST", "API_ENDPOINT_OVERRIDE")
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
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


@dataclass(frozen=True, slots=True)
class GcsAccess:
    """All that a client of one bucket has to be told.

    :ivar credentials: google.auth's, or None where google-auth is not installed and obstore logs in by itself.
    """

    network: Network
    credentials: Any = field(default=None, repr=False)
    anonymous: bool = False
    project: str | None = None

    @property
    def token(self) -> Callable[[], GCSCredential] | None:
        """Return the function that obstore calls for a new token."""
        if self.anonymous:
            return lambda: {"token": "", "expires_at": None}
        return None if self.credentials is None else _renewing(self.credentials)

    def session(self) -> Any:
        """Return the HTTP session of Google's SDK, which reads nothing from the environment (nor ``.netrc``)."""
        from google.auth.transport.requests import AuthorizedSession

        session = AuthorizedSession(self.credentials)  # type: ignore[no-untyped-call]  # untyped
        session.trust_env = False
        session.verify = self.network.verify
        session.proxies = self.network.proxies
        return session


def gcs_access(conn_id: str | None, endpoint: str | None, uri: str) -> GcsAccess:
    """Return how to reach a bucket. Look up the connection here, on the calling thread.

    :param endpoint: that of the store URI, if it has one.
    :raises ConnectionUnknown: Airflow has no such connection.
    :raises SettingInvalid: the connection or the environment cannot be used.
    :raises ExtraMissing: GoogleBaseHook is not installed.
    """
    emulator = os.environ.get(_VARIABLES[0])
    configured = endpoint or next((os.environ[name] for name in _VARIABLES if os.environ.get(name)), _ENDPOINT)
    if not is_endpoint(configured):
        raise SettingInvalid(
            f"the endpoint in {' or '.join(_VARIABLES)} is not a URL",
            where=f"store URI {uri}",
            remedy=ENDPOINT_REMEDY,
        )
    network = requests_network(configured.rstrip("/"))
    if conn_id:
        return _of_connection(network, conn_id, uri)
    return _of_default_chain(network, uri, emulated=bool(emulator) and not endpoint)


def _of_connection(network: Network, conn_id: str, uri: str) -> GcsAccess:
    connection = connection_of(conn_id, uri)
    names = {name.removeprefix("extra__google_cloud_platform__") for name in extra_of(connection, uri)}
    warn_of_unknown(connection, names, _HOOK, "extra")
    try:
        from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
        from google.auth.credentials import AnonymousCredentials
    except ImportError as error:
        raise missing("gcp", error, uri) from None

    try:
        hook = hook_with(GoogleBaseHook, connection)(gcp_conn_id=conn_id)
        credentials, project = hook.get_credentials_and_project_id()
    except Exception as error:  # noqa: BLE001  # any error of a hook becomes one of ours
        raise refused(connection, error, uri) from None
    if isinstance(credentials, AnonymousCredentials):
        # obstore sends an empty token with puts and deletions all the same (object_store, gcp/client.rs).
        raise SettingInvalid(
            f"connection {conn_id!r:.80} is anonymous, but payloads need an identity",
            where=f"store URI {uri}",
            remedy="give it a key or a credential configuration; a bucket that anybody may write to must not "
            "be a store",
        )
    return GcsAccess(network, credentials, project=project)


def _of_default_chain(network: Network, uri: str, *, emulated: bool) -> GcsAccess:
    try:
        import google.auth
        from google.auth.credentials import AnonymousCredentials
        from google.auth.exceptions import DefaultCredentialsError
    except ImportError:
        return GcsAccess(network)
    try:
        credentials, project = google.auth.default(scopes=[_SCOPE])
    except DefaultCredentialsError as error:
        if emulated:
            # As Google's SDK does with an emulator, which asks nobody for an identity.
            anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]  # untyped
            return GcsAccess(network, anonymous, anonymous=True)
        raise SettingInvalid(
            f"there are no Google credentials on this machine ({type(error).__name__})",
            where=f"store URI {uri}",
            remedy="name an Airflow connection before the @ of the store URI (gs://CONN_ID@BUCKET/PREFIX), "
            "correct GOOGLE_APPLICATION_CREDENTIALS, or give this worker a service account",
        ) from None
    return GcsAccess(network, credentials, project=project)


def _renewing(credentials: Any) -> Callable[[], GCSCredential]:
    def current() -> GCSCredential:
        from google.auth.transport.requests import Request

        if not credentials.valid:
            renewed(lambda: credentials.refresh(Request()))
        ends = credentials.expiry
        # google.auth's times are in UTC, without a time zone.
        return {"token": credentials.token, "expires_at": ends.replace(tzinfo=timezone.utc) if ends else None}

    return current

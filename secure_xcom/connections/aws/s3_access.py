"""One answer for every client of a bucket: endpoint, signature, credentials, proxy and certificates.

The rules are boto3's, and a store URI and a connection come before the environment. obstore and boto3 are then
told all of it, because each would read the environment in its own way: obstore heeds ``AWS_SKIP_SIGNATURE``, say,
and lets ``AWS_ENDPOINT_URL_S3`` win over the endpoint that it is given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from secure_xcom.connections.airflow_connections import hook_with
from secure_xcom.connections.aws.s3_endpoint import S3Endpoint, s3_endpoint
from secure_xcom.connections.aws.shared_config import SharedConfig
from secure_xcom.connections.extras import (
    connection_of,
    extra_of,
    missing,
    refused,
    renewed,
    text,
    warn_of_unknown,
)
from secure_xcom.connections.network import (
    ENDPOINT_REMEDY,
    Network,
    botocore_proxy,
    is_endpoint,
    proxies_in_environment,
)
from secure_xcom.core.errors import SettingInvalid

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from obstore.store import S3Credential

_STATIC = {"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
_SHARED = {"region_name", "endpoint_url", "verify", "config_kwargs", "service_config"}
_HOOK = {"role_arn", "assume_role_method", "assume_role_kwargs", "profile_name", "session_kwargs"}
# The options of botocore's Config that all clients have. The others apply only to large puts, which use botocore.
_CONFIG = {"s3", "signature_version", "region_name", "proxies"}
_S3_CONFIG = {"addressing_style", "use_accelerate_endpoint", "use_dualstack_endpoint"}
# Options that the store URI has instead, for large puts as well.
_TRANSPORT = {"connect_timeout", "read_timeout", "retries", "max_pool_connections", "user_agent_extra"}
_ADDRESSING = ("auto", "path", "virtual")
_SIGNATURES = ("s3v4", "unsigned")
_FIT_FOR_A_HEADER = re.compile(r"[!-~]+")
NO_CREDENTIALS = (
    "name an Airflow connection before the @ of the store URI (s3://CONN_ID@BUCKET/PREFIX), or give this worker a "
    "role or a profile; `aws sts get-caller-identity` shows what AWS's own tools find here"
)


class _Login(NamedTuple):
    """Credentials: a boto3 session for large puts, and what obstore calls whenever it needs new ones."""

    session: Callable[[], Any]
    credentials: Callable[[], S3Credential] | None
    """None where obstore logs in by itself."""


@dataclass(frozen=True, slots=True)
class S3Access:
    """All that a client of one bucket has to be told.

    :ivar config: options of botocore's Config that only large puts have.
    """

    endpoint: S3Endpoint
    network: Network
    signed: bool
    session: Callable[[], Any] = field(repr=False)
    credentials: Callable[[], S3Credential] | None = field(default=None, repr=False)
    """Called by obstore whenever it needs new credentials. None where it logs in by itself (web identity and
    container roles), with the same variables as boto3."""

    config: Mapping[str, Any] = field(default_factory=dict)


def s3_access(conn_id: str | None, bucket: str, options: Mapping[str, str], uri: str) -> S3Access:
    """Return how to reach a bucket. Look up the connection here, on the calling thread.

    :param options: ``region``, ``endpoint`` and ``addressing`` of the store URI.
    :raises ConnectionUnknown: Airflow has no such connection.
    :raises SettingInvalid: the connection, the environment or AWS's configuration files cannot be used.
    :raises ExtraMissing: the connection needs AwsBaseHook, which is not installed.
    """
    connection = connection_of(conn_id, uri) if conn_id else None
    extra = extra_of(connection, uri) if connection else {}
    config = _config_of(connection, extra, uri) if connection else {}
    where = f"store URI {uri}"
    shared = SharedConfig(where, text(extra, "profile_name"))
    s3 = config.get("s3") or {}
    given = {
        "region": options.get("region") or text(extra, "region_name") or text(config, "region_name"),
        "endpoint": options.get("endpoint") or (_endpoint_of(connection, extra, uri) if connection else None),
        "addressing": options.get("addressing"),
    }
    endpoint = s3_endpoint(bucket, given, s3, shared, where)
    signed = config.get("signature_version") != "unsigned"
    login = _of_connection(connection, extra, uri, signed=signed) if connection else _of_default_chain(shared, uri)
    if login.credentials is None and not signed:
        login = login._replace(credentials=_anonymous)
    verify = extra.get("verify")
    if verify is None:
        verify = shared.value("ca_bundle", "AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE") or True
    network = Network(
        endpoint.url, botocore_proxy(endpoint.url, config.get("proxies")), verify, proxies_in_environment()
    )
    checksums = shared.value("request_checksum_calculation", "AWS_REQUEST_CHECKSUM_CALCULATION")
    if checksums and "request_checksum_calculation" not in config:
        config["request_checksum_calculation"] = checksums
    return S3Access(endpoint, network, signed, *login, config=config)


def _anonymous() -> S3Credential:
    return {"access_key_id": "", "secret_access_key": "", "token": None, "expires_at": None}


def _endpoint_of(connection: Connection, extra: Mapping[str, Any], uri: str) -> str | None:
    service = _mapping(_mapping(extra, "service_config", connection, uri), "s3", connection, uri)
    warn_of_unknown(connection, service, {"endpoint_url"}, "service_config for s3")
    # As in the hook: null for this service means that the connection names no endpoint.
    endpoint = text(service if "endpoint_url" in service else extra, "endpoint_url")
    if endpoint and not is_endpoint(endpoint):
        raise SettingInvalid(
            f"endpoint_url in the extra of connection {connection.conn_id!r:.80} is not a URL",
            where=f"store URI {uri}",
            remedy=ENDPOINT_REMEDY,
        )
    return endpoint


def _of_connection(connection: Connection, extra: Mapping[str, Any], uri: str, *, signed: bool) -> _Login:
    access_key = connection.login or text(extra, "aws_access_key_id")
    secret_key = connection.password or text(extra, "aws_secret_access_key")
    if not access_key or not secret_key or _HOOK & set(extra):
        return _of_hook(connection, uri, signed=signed)
    # Fixed keys need no login of the hook, and without botocore the first put takes a tenth of the time.
    token = text(extra, "aws_session_token")
    if not all(map(_FIT_FOR_A_HEADER.fullmatch, (access_key, secret_key, token or "-"))):
        raise SettingInvalid(
            f"a key or the session token of connection {connection.conn_id!r:.80} contains a space or line break",
            where=f"store URI {uri}",
            remedy="enter it again without the extra characters",
        )
    return _of_keys(access_key, secret_key, token, uri)


def _of_keys(access_key: str, secret_key: str, token: str | None, uri: str) -> _Login:
    return _Login(
        session=lambda: _session(uri, access_key, secret_key, token),
        credentials=lambda: {
            "access_key_id": access_key,
            "secret_access_key": secret_key,
            "token": token,
            "expires_at": None,
        },
    )


def _config_of(connection: Connection, extra: Mapping[str, Any], uri: str) -> dict[str, Any]:
    """Return the config_kwargs, and log those that have no effect."""
    warn_of_unknown(connection, extra, _STATIC | _SHARED | _HOOK, "extra")
    config = _mapping(extra, "config_kwargs", connection, uri)
    replaced = _TRANSPORT & set(config)
    warn_of_unknown(connection, replaced, (), "config_kwargs, in place of which the store URI has options,")
    understood = _CONFIG | replaced
    if config.get("signature_version") not in (None, *_SIGNATURES):
        understood = understood - {"signature_version"}
    warn_of_unknown(connection, config, understood, "config_kwargs, other than for payloads over 8 MiB,")
    of_s3 = _mapping(config, "s3", connection, uri)
    within = "s3 in its config_kwargs, other than for payloads over 8 MiB,"
    warn_of_unknown(connection, of_s3, _S3_CONFIG, within)
    if of_s3.get("addressing_style") not in (None, *_ADDRESSING):
        raise SettingInvalid(
            f"addressing_style in the extra of connection {connection.conn_id!r:.80} is not one of "
            f"{', '.join(_ADDRESSING)}",
            where=f"store URI {uri}",
            remedy="correct the connection's extra",
        )
    _mapping(config, "proxies", connection, uri)
    return config


def _of_hook(connection: Connection, uri: str, *, signed: bool) -> _Login:
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    except ImportError as error:
        raise missing("aws", error, uri) from None
    try:
        hook = hook_with(AwsBaseHook, connection)(aws_conn_id=connection.conn_id, client_type="s3")
        session = hook.get_session()
        credentials = session.get_credentials()
    except Exception as error:  # noqa: BLE001  # any error of a hook becomes one of ours
        raise refused(connection, error, uri) from None
    if credentials is None and signed:
        raise SettingInvalid(
            f"connection {connection.conn_id!r:.80} gives no credentials",
            where=f"store URI {uri}",
            remedy="give it a login and password, a role_arn or a profile_name",
        )
    return _Login(lambda: session, _renewing(credentials) if credentials else None)


def _of_default_chain(shared: SharedConfig, uri: str) -> _Login:
    """Return the credentials that boto3 finds first, and load boto3 only where it has to look further."""
    keys = [os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    if keys[0] and keys[1] and not os.environ.get("AWS_CREDENTIAL_EXPIRATION"):
        token = os.environ.get("AWS_SESSION_TOKEN") or os.environ.get("AWS_SECURITY_TOKEN")
        return _of_keys(keys[0], keys[1], token or None, uri)
    try:
        if _obstore_logs_in_alike(shared):
            return _Login(lambda: _session(uri), None)
        session = _session(uri)
        credentials = session.get_credentials()
    except Exception as error:
        if isinstance(error, SettingInvalid):
            raise
        raise SettingInvalid(
            f"AWS's default credentials cannot be used ({type(error).__name__})",
            where=f"store URI {uri}",
            remedy=NO_CREDENTIALS,
        ) from None
    if credentials is None:
        raise SettingInvalid(
            "there are no AWS credentials on this machine", where=f"store URI {uri}", remedy=NO_CREDENTIALS
        )
    return _Login(lambda: session, _renewing(credentials))


def _obstore_logs_in_alike(shared: SharedConfig) -> bool:
    """Check whether a role of a pod or a container is the login, and nothing else has a say in it.

    obstore then does what boto3 would do, without the third of a second that importing botocore takes.
    """
    environ = os.environ
    if any(environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")):
        return False
    if shared.has_files or shared.endpoint("sts") or proxies_in_environment():
        return False
    if shared.flag("use_fips_endpoint", "AWS_USE_FIPS_ENDPOINT"):
        return False
    if not (shared.region or "").startswith(("us-gov-", "us-iso", "cn-", "eu-iso", "eusc-")) and all(
        environ.get(name) for name in ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")
    ):
        return True
    if environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") or environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN"):
        return False
    if environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return not environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    full, file = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
    return bool(environ.get(full) and environ.get(file))


def _renewing(credentials: Any) -> Callable[[], S3Credential]:
    def current() -> S3Credential:
        # botocore renews here, from 15 minutes before they expire.
        frozen = renewed(credentials.get_frozen_credentials)
        ends = getattr(credentials, "_expiry_time", None)
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": ends.astimezone(timezone.utc) if ends else None,
        }

    return current


def _session(
    uri: str, access_key: str | None = None, secret_key: str | None = None, token: str | None = None
) -> Any:
    try:
        import boto3
    except ImportError as error:
        raise missing("aws", error, uri) from None
    return boto3.session.Session(
        aws_access_key_id=access_key, aws_secret_access_key=secret_key, aws_session_token=token
    )


def _mapping(options: Mapping[str, Any], name: str, connection: Connection, uri: str) -> dict[str, Any]:
    value = options.get(name) or {}
    if not isinstance(value, dict):
        raise SettingInvalid(
            f"{name} in the extra of connection {connection.conn_id!r:.80} is not a JSON object",
            where=f"store URI {uri}",
            remedy="correct the connection's extra",
        )
    return dict(value)

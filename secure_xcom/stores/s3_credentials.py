"""Credentials for an S3 bucket: of an Airflow connection, or of AWS's default credential chain."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timezone
from typing import TYPE_CHECKING, Any

from secure_xcom.connections import hook_with
from secure_xcom.core.errors import SettingInvalid
from secure_xcom.stores.airflow_connection import (
    connection_of,
    extra_of,
    missing,
    refused,
    renewed,
    text,
    warn_of_unknown,
)
from secure_xcom.stores.bucket_uri import ENDPOINT_REMEDY, BucketUri, is_endpoint

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from obstore.store import S3Credential

_STATIC = {"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
_SHARED = {"region_name", "endpoint_url", "verify", "config_kwargs", "service_config"}
_HOOK = {"role_arn", "assume_role_method", "assume_role_kwargs", "profile_name", "session_kwargs"}
# The options of botocore's Config that obstore also has. The others apply only to large puts, which use botocore.
_CONFIG = {"s3", "signature_version", "region_name"}
# Options that the store URI has instead, for large puts as well.
_TRANSPORT = {"connect_timeout", "read_timeout", "retries", "max_pool_connections", "user_agent_extra"}
_ADDRESSING = ("auto", "path", "virtual")
_SIGNATURES = ("s3v4", "unsigned")
_FIT_FOR_A_HEADER = re.compile(r"[!-~]+")
_NATIVE_CHAIN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


@dataclass(frozen=True, slots=True)
class Access:
    """An identity and its endpoint."""

    session: Callable[[], Any] = field(repr=False)
    """A boto3 session, for large puts."""

    credentials: Callable[[], S3Credential] | None = field(default=None, repr=False)
    """Called by obstore whenever it needs new credentials. None for its own default chain."""

    region: str | None = None
    endpoint: str | None = None
    verify: bool | str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, place: BucketUri) -> Access:
        """Return the identity that a URI names. Look up the connection here, on the calling thread.

        :raises ConnectionUnknown: Airflow has no such connection.
        :raises SettingInvalid: the connection cannot be used.
        :raises ExtraMissing: the connection needs AwsBaseHook, which is not installed.
        """
        return _of_connection(place, place.conn_id) if place.conn_id else _of_default_chain()


def _of_connection(place: BucketUri, conn_id: str) -> Access:
    connection = connection_of(conn_id, place.uri)
    extra = extra_of(connection, place.uri)
    warn_of_unknown(connection, extra, _STATIC | _SHARED | _HOOK, "extra")
    config = _config_of(connection, extra, place)
    service = _mapping(_mapping(extra, "service_config", place), "s3", place)
    warn_of_unknown(connection, service, {"endpoint_url"}, "service_config for s3")
    verify = extra.get("verify")
    region = text(extra, "region_name") or text(config, "region_name")
    # As in the hook: null for this service means AWS's own endpoint.
    endpoint = text(service if "endpoint_url" in service else extra, "endpoint_url")
    if endpoint and not is_endpoint(endpoint):
        raise SettingInvalid(
            f"endpoint_url in the extra of connection {conn_id!r:.80} is not a URL",
            where=f"store URI {place.uri}",
            remedy=ENDPOINT_REMEDY,
        )
    access = Access(_default_session, region=region, endpoint=endpoint, verify=verify, config=config)

    access_key = connection.login or text(extra, "aws_access_key_id")
    secret_key = connection.password or text(extra, "aws_secret_access_key")
    if not access_key or not secret_key or _HOOK & set(extra):
        return _of_hook(connection, place, access)
    # Fixed keys need no login of the hook, and without botocore the first put takes a tenth of the time.
    token = text(extra, "aws_session_token")
    if not all(map(_FIT_FOR_A_HEADER.fullmatch, (access_key, secret_key, token or "-"))):
        raise SettingInvalid(
            f"a key or the session token of connection {conn_id!r:.80} contains a space or a line break",
            where=f"store URI {place.uri}",
            remedy="enter it again without the extra characters",
        )
    return replace(
        access,
        session=lambda: _session(place, access_key, secret_key, token),
        credentials=lambda: {
            "access_key_id": access_key,
            "secret_access_key": secret_key,
            "token": token,
            "expires_at": None,
        },
    )


def _config_of(connection: Connection, extra: Mapping[str, Any], place: BucketUri) -> dict[str, Any]:
    """Return the config_kwargs, and log those that have no effect."""
    config = _mapping(extra, "config_kwargs", place)
    own = _TRANSPORT & set(config)
    warn_of_unknown(connection, own, (), "config_kwargs, in place of which the store URI has options,")
    understood = _CONFIG | own
    if config.get("signature_version") not in (None, *_SIGNATURES):
        understood = understood - {"signature_version"}
    warn_of_unknown(connection, config, understood, "config_kwargs, other than for payloads over 8 MiB,")
    of_s3 = _mapping(config, "s3", place)
    within = "s3 in its config_kwargs, other than for payloads over 8 MiB,"
    warn_of_unknown(connection, of_s3, {"addressing_style"}, within)
    if of_s3.get("addressing_style") not in (None, *_ADDRESSING):
        raise SettingInvalid(
            f"addressing_style in the extra of connection {connection.conn_id!r:.80} is not one of "
            f"{', '.join(_ADDRESSING)}",
            where=f"store URI {place.uri}",
            remedy="correct the connection's extra",
        )
    return config


def _of_hook(connection: Connection, place: BucketUri, access: Access) -> Access:
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    except ImportError as error:
        raise missing("aws", error, place.uri) from None
    try:
        hook = hook_with(AwsBaseHook, connection)(aws_conn_id=connection.conn_id, client_type="s3")
        session = hook.get_session()
        credentials = session.get_credentials()
    except Exception as error:  # noqa: BLE001  # any error of a hook becomes one of ours
        raise refused(connection, error, place.uri) from None
    if credentials is None and access.config.get("signature_version") != "unsigned":
        raise SettingInvalid(
            f"connection {connection.conn_id!r:.80} gives no credentials",
            where=f"store URI {place.uri}",
            remedy="give it a login and password, a role_arn or a profile_name",
        )
    return replace(
        access,
        session=lambda: session,
        credentials=_renewing(credentials) if credentials else None,
        region=access.region or session.region_name,
    )


def _of_default_chain() -> Access:
    if not any(os.environ.get(name) for name in _NATIVE_CHAIN):
        # obstore's own chain covers the environment, web identity, containers and EC2; boto3's also reads the
        # profiles of ~/.aws, SSO and credential processes.
        try:
            import boto3
        except ImportError:
            return Access(session=_default_session)
        session = boto3.session.Session()
        credentials = session.get_credentials()
        if credentials is not None:
            return Access(session=lambda: session, credentials=_renewing(credentials), region=session.region_name)
    return Access(session=_default_session)


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


def _session(place: BucketUri, access_key: str, secret_key: str, token: str | None) -> Any:
    try:
        import boto3
    except ImportError as error:
        raise missing("aws", error, place.uri) from None
    return boto3.session.Session(
        aws_access_key_id=access_key, aws_secret_access_key=secret_key, aws_session_token=token
    )


def _default_session() -> Any:
    import boto3

    return boto3.session.Session()


def _mapping(options: Mapping[str, Any], name: str, place: BucketUri) -> dict[str, Any]:
    value = options.get(name) or {}
    if not isinstance(value, dict):
        raise SettingInvalid(
            f"{name} in the extra of connection {place.conn_id!r:.80} is not a JSON object",
            where=f"store URI {place.uri}",
            remedy="correct the connection's extra",
        )
    return value

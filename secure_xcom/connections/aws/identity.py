"""The identity at AWS: an Airflow connection or boto3's default credential chain, looked up once per process.

With a connection, `AwsBaseHook` logs in, so every way that Airflow's Amazon connections know works: fixed keys,
session tokens, profiles, AssumeRole, web identity, SAML, a custom session factory. Sessions renew themselves.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from secure_xcom.connections.airflow_connections import airflow_connection, hook_with
from secure_xcom.connections.aws.shared_config import SharedConfig
from secure_xcom.connections.connection_ids import DEFAULT
from secure_xcom.core.errors import ExtraMissing, SettingInvalid
from secure_xcom.core.per_process import MadeOnce, PerProcess

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
ATTEMPTS = 4
"""botocore's defaults are 60 seconds and 5 attempts: too long for a task to notice that a key service is down. The
connection's `config_kwargs` can set all three, AWS_MAX_ATTEMPTS also the last."""

# Amazon provider, "Amazon Web Services Connection".
_EXTRA = frozenset(
    {
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "region_name",
        "profile_name",
        "config_kwargs",
        "endpoint_url",
        "verify",
        "service_config",
        "role_arn",
        "assume_role_method",
        "assume_role_kwargs",
        "assume_role_with_saml",
        "assume_role_with_web_identity_federation",
        "assume_role_with_web_identity_federation_audience",
        "assume_role_with_web_identity_token_file",
        # Old, or without effect, but valid.
        "session_kwargs",
        "profile",
        "s3_config_file",
        "s3_config_format",
        "test_endpoint_url",
        "host",
    }
)


class AwsIdentity:
    """One identity. Safe for several threads.

    :raises ConnectionUnknown: Airflow has no such connection.
    :raises ExtraMissing: boto3 or Airflow's Amazon provider is not installed.
    :raises SettingInvalid: the connection cannot be used.
    """

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self._clients: MadeOnce[tuple[str, str | None], Any] = MadeOnce(lambda key: self._new_client(*key))
        # The connection is looked up only here: inside a task, no other thread may ask Airflow.
        self._hook = _hook(conn_id) if conn_id != DEFAULT else None
        if self._hook is None:
            _import_boto3()

    @property
    def verify(self) -> bool | str | None:
        """Return whether certificates are verified and by which CA bundle; None for botocore's own choice."""
        verify: bool | str | None = None if self._hook is None else self._hook.verify
        return verify

    def client(self, service: str, region: str | None) -> Any:
        """Return the boto3 client of a service in a region, by default the connection's or the environment's.

        The first one of a region may log in at STS. What botocore or the hook raises then passes through: it is
        told apart by `secure_xcom.keys.aws_kms_errors`.
        """
        return self._clients.get((service, region))

    def _new_client(self, service: str, region: str | None) -> Any:
        import boto3

        if self._hook is None:
            region = region or _region_here(None)
            return boto3.session.Session(region_name=region).client(service, config=_defaults())
        config = self._hook.config
        profile = self._hook.conn_config.profile_name
        region = region or self._hook.conn_config.region_name or config.region_name or _region_here(profile)
        # Not `hook.get_client_type`: it is for one service, and sends AWS the operator's class and the DAG's hash.
        session = self._hook.get_session(region_name=region)
        return session.client(
            service,
            # Repeated here, because the config overrides the session.
            region_name=region,
            endpoint_url=self._hook.conn_config.get_service_endpoint_url(service),
            config=config,
            verify=self._hook.verify,
        )


def _hook(conn_id: str) -> Any:
    where = f"connection {conn_id}"
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    except ImportError as error:
        raise missing(error, where) from None
    connection = airflow_connection(
        conn_id, where=where, named="the id in the key URI (`default` is for the default credential chain)"
    )
    try:
        unknown = sorted(set(connection.extra_dejson) - _EXTRA)
        hook = hook_with(AwsBaseHook, connection)(aws_conn_id=conn_id, client_type="kms")
        config = hook.conn_config
        # STS gets this as well, before there is a client.
        config.botocore_config = _defaults().merge(hook.config)
    except Exception as error:  # noqa: BLE001  # the foreign message may repeat the extra
        raise SettingInvalid(
            f"Airflow's AWS hook rejects the connection ({type(error).__name__})",
            where=where,
            remedy="correct the connection; docs/reference/aws-kms.md has an example for each login method",
        ) from None
    if unknown:
        log.warning("The extra of connection %s has options without effect: %s", conn_id, ", ".join(unknown))
    return hook


def _import_boto3() -> None:
    try:
        import boto3  # noqa: F401  # whether it is there is all that is asked
    except ImportError as error:
        raise missing(error, f"connection {DEFAULT}") from None


def missing(error: ImportError, where: str) -> ExtraMissing:
    """Return the error for a missing boto3 or Airflow provider."""
    return ExtraMissing(
        f"{error.name or 'a library'} cannot be imported",
        where=where,
        remedy="run `pip install secure-xcom[aws]` on this machine",
    )


def _defaults() -> Any:
    from botocore.config import Config

    options: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "user_agent_extra": "secure-xcom",
    }
    # A Config overrides the environment.
    if not ("AWS_MAX_ATTEMPTS" in os.environ or "AWS_RETRY_MODE" in os.environ):
        # The standard mode backs off with jitter, and stops when most requests fail.
        options["retries"] = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    return Config(**options)


def profile_session(profile: str | None) -> Any:
    """Return a session with boto3's own settings, for operators: the default chain or a profile."""
    import boto3

    session = boto3.session.Session(profile_name=profile)
    if session.region_name is None:
        session = boto3.session.Session(profile_name=profile, region_name=_region_here(profile))
    return session


def _region_here(profile: str | None) -> str | None:
    """Return the region of the environment or the profile, where nothing else names one. AWS_REGION comes last."""
    return SharedConfig("AWS", profile).region


def retries_and_times() -> Any:
    """Return the time-outs and retries that workers have."""
    return _defaults()


# Two processes must not speak over one connection.
_identities = PerProcess(lambda: MadeOnce(AwsIdentity))


def aws_identity(conn_id: str) -> AwsIdentity:
    """Return the identity of a connection id: one per process, so that one login serves all its keys.

    :raises ConfigurationError: see `AwsIdentity`.
    """
    return _identities.get().get(conn_id)


def forget_identities() -> None:
    """Drop every login of this process. What holds one already keeps it."""
    _identities.forget()

"""Which Airflow connection a URI names: of keys, stores, sinks and claims."""

from __future__ import annotations

from urllib.parse import unquote

_BEFORE_A_SLASH = ("vault", "vault-kv", "aws-kms", "db")
_DEFAULT = "default"


def connection_id(uri: str) -> str | None:
    """Return the connection's id, or None where a URI names none and the environment's credentials are used.

    Keys, Vault's KV and databases have it before the first slash, buckets before the ``@``. At Vault and KMS
    ``default`` stands for the environment.
    """
    scheme, _, rest = uri.partition("://")
    authority = rest.partition("?")[0].partition("/")[0]
    if scheme in _BEFORE_A_SLASH:
        return None if scheme != "db" and authority == _DEFAULT else unquote(authority) or None
    if scheme in ("s3", "gs", "abfs"):
        return unquote(authority.rpartition("@")[0]) or None
    return None


def variable(conn_id: str) -> str:
    """Return the environment variable in which Airflow looks for a connection first."""
    return f"AIRFLOW_CONN_{conn_id.upper()}"

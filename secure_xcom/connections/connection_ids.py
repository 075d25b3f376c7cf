"""Which Airflow connection a URI names: of keys, stores, sinks and claims. Here is the one rule for ``default``.

    vault://default/..., vault-kv://default/...     no connection: VAULT_ADDR and the variables beside it
    aws-kms://default/...                           no connection: AWS's default credential chain
    s3://BUCKET, gs://BUCKET, abfs://CONTAINER      no connection: the cloud's default credentials
    s3://default@BUCKET, db://default               a connection whose id is ``default``

URIs with the id before a slash cannot leave it out, and stored references name keys in this form, so there
``default`` keeps its meaning. A bucket's URI leaves it out, so ``default@`` before a bucket is refused by
lint and when the store or sink is opened, unless Airflow has a connection of that id (docs/adr/0105).
"""

from __future__ import annotations

from urllib.parse import unquote

DEFAULT = "default"
"""Before a slash, the id that stands for the environment's credentials."""

_BEFORE_A_SLASH = ("vault", "vault-kv", "aws-kms", "db")
_BUCKETS = ("s3", "gs", "abfs")


def connection_id(uri: str) -> str | None:
    """Return the connection's id, or None where a URI names none and the environment's credentials are used.

    Keys, Vault's KV and databases have it before the first slash, buckets before the ``@``.
    """
    scheme, _, rest = uri.partition("://")
    authority = rest.partition("?")[0].partition("/")[0]
    if scheme in _BEFORE_A_SLASH:
        return None if scheme != "db" and authority == DEFAULT else unquote(authority) or None
    if scheme in _BUCKETS:
        return unquote(authority.rpartition("@")[0]) or None
    return None


def names_default(uri: str) -> bool:
    """Check whether a bucket's URI names a connection ``default``, by which its author may mean none at all."""
    return uri.partition("://")[0] in _BUCKETS and connection_id(uri) == DEFAULT


def leave_default_out(uri: str) -> str:
    """Return the remedy for a bucket's URI that names the connection ``default``, which does not exist."""
    scheme, _, rest = uri.partition("?")[0].partition("://")
    return (
        f"leave {DEFAULT}@ out and write {scheme}://{rest.partition('@')[2]:.200} for the default credentials; "
        f"{DEFAULT} stands for them only before a slash, in key URIs and vault-kv://"
    )


def variable(conn_id: str) -> str:
    """Return the environment variable in which Airflow looks for a connection first."""
    return f"AIRFLOW_CONN_{conn_id.upper()}"

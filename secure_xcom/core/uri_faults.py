"""Errors about URIs of the settings that cannot be used: what was meant, and the form with an example.

Only a fault loads this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.suggest import closest, did_you_mean

Kind = Literal["key service", "store", "sink", "signing key"]
FORMS: dict[Kind, dict[str, str]] = {
    "key service": {
        "vault": "vault://CONN_ID/MOUNT/keys/NAME, such as vault://vault_xcom/transit/keys/xcom-pay",
        "aws-kms": "aws-kms://CONN_ID/alias/NAME, such as aws-kms://aws_xcom/alias/xcom-pay",
        "local": "local:///PATH, such as local:///opt/airflow/keys/keyring.json",
    },
    "store": {
        "file": "file:///PATH, such as file:///opt/airflow/sealed",
        "s3": "s3://CONN_ID@BUCKET/PREFIX, such as s3://aws_xcom@example-xcom/sealed",
        "gs": "gs://CONN_ID@BUCKET/PREFIX, such as gs://gcp_xcom@example-xcom/sealed",
        "abfs": "abfs://CONN_ID@CONTAINER/PREFIX, such as abfs://azure_xcom@example-xcom/sealed",
        "vault-kv": "vault-kv://CONN_ID/MOUNT/PREFIX, such as vault-kv://vault_xcom/secret/xcom",
    },
    "sink": {
        "file": "file:///PATH, such as file:///var/log/airflow/access-log.jsonl",
        "s3": "s3://CONN_ID@BUCKET/PREFIX (also gs:// and abfs://), such as s3://aws_audit@example-audit/events",
        "db": "db://CONN_ID, such as db://audit_db",
        "db+postgresql": "db+postgresql://USER@HOST/NAME, such as db+postgresql://writer@db.example.com/audit",
        "syslog+tls": "syslog+tls://HOST:PORT, such as syslog+tls://logs.example.com:6514",
        "log": "log://NAME, such as log://secure_xcom.audit",
    },
    "signing key": {
        "vault": "vault://CONN_ID/MOUNT/keys/NAME, such as vault://vault_audit/transit/keys/xcom-sealing",
        "aws-kms": "aws-kms://CONN_ID/alias/NAME, such as aws-kms://aws_audit/alias/xcom-sealing",
        "file": "file:///PATH, such as file:///secure/sealing.pem",
    },
}
# What people write for a scheme, after other tools.
_MEANT = {
    "kms": "aws-kms", "awskms": "aws-kms", "hashivault": "vault", "s3a": "s3", "s3n": "s3", "gcs": "gs",
    "az": "abfs", "wasb": "abfs", "azure": "abfs", "abfss": "abfs", "syslog": "syslog+tls", "logger": "log",
    "postgresql": "db+postgresql", "postgres": "db+postgresql", "kv": "vault-kv", "vault": "vault-kv",
    "file": "local", "keyring": "local",
}  # fmt: skip


def unknown_scheme(kind: Kind, scheme: str, where: str) -> UriInvalid:
    """Return the error about a URI of a scheme that does not exist; an empty scheme is none at all."""
    forms = FORMS[kind]
    if not scheme:
        listed = ", ".join(f"{known}://" for known in forms)
        what = f"the URI of a {kind} begins with one of {listed}"
        return UriInvalid(what, where=where, remedy=f"write {'; '.join(forms.values())}")
    meant = _MEANT.get(scheme.lower())
    like = meant if meant in forms else closest(scheme, forms)
    remedy = f"did you mean {like}://? Write {forms[like]}" if like else f"write {'; '.join(forms.values())}"
    return UriInvalid(f"no {kind} has the scheme {scheme!r:.40}", where=where, remedy=remedy)


def unknown_option(name: str, known: Iterable[str], where: str) -> UriInvalid:
    """Return the error about an option of a URI that does not exist."""
    options = sorted(known)
    remedy = did_you_mean(name, options, f"the options are {', '.join(options)}")
    return UriInvalid(f"unknown option {name!r:.40}", where=where, remedy=remedy)

"""What an error about a URI says: the wrong part, what was meant, and the form with an example."""

from __future__ import annotations

import re

import pytest

from secure_xcom.core.errors import UriInvalid
from secure_xcom.keys import key_service
from secure_xcom.ops.audit_trail.tlog.signers import signer
from secure_xcom.sinks.interface import sink
from secure_xcom.stores import store


@pytest.mark.parametrize(
    ("parse", "uri", "what", "remedy"),
    [
        (key_service, "vault://c/transit/key/x", "no /keys/", "vault://vault_xcom/transit/keys/xcom-pay"),
        (key_service, "vault://c/transit/keys/", "no key's name", "such as vault://"),
        (key_service, "vault:///transit/keys/x", "no connection id", "CONN_ID is a connection"),
        (key_service, "vault://c/transit/keys/x?grnt=scoped", "did you mean grant?", "such as vault://"),
        (key_service, "vault://c/transit/keys/x?grant=scope", "did you mean grant=scoped?", "such as vault://"),
        (key_service, "vualt://c/transit/keys/x", "no key service has the scheme", "did you mean vault://?"),
        (key_service, "kms://c/alias/x", "no key service", "did you mean aws-kms://? Write aws-kms://CONN_ID"),
        (key_service, "/etc/keyring.json", "begins with one of vault://", "such as local:///opt/airflow/keys"),
        (key_service, "aws-kms://c/x", "not a KMS key URI", "such as aws-kms://aws_xcom/alias/xcom-pay"),
        (key_service, "local://x", "an absolute path", "such as local:///opt/airflow/keys/keyring.json"),
        (store, "s3a://bucket/x", "no store has the scheme", "did you mean s3://?"),
        (store, "/opt/sealed", "begins with one of file://", "such as file:///opt/airflow/sealed"),
        (store, "vault-kv://c", "not a Vault KV store URI", "such as vault-kv://vault_xcom/secret/xcom"),
        (store, "s3://bucket?regoin=x", "unknown option 'regoin'", "did you mean 'region'?"),
        (store, "s3://a b@bucket", "not a connection id", "such as s3://s3_xcom@example-xcom/sealed"),
        (sink, "/var/log/x", "begins with one of file://", "such as file:///var/log/airflow"),
        (sink, "fil:///x", "no sink has the scheme", "did you mean file://?"),
        (sink, "syslog://host:514", "no sink has the scheme", "such as syslog+tls://logs.example.com"),
        (sink, "file:///x?fsnc=true", "unknown option 'fsnc'", "did you mean 'fsync'?"),
        (sink, "file:///x?fsync", "not name=value", "?name=value"),
        (signer, "vualt://c/transit/keys/x", "no signing key", "did you mean vault://?"),
    ],
)
def test_a_malformed_uri_is_answered_with_its_form(parse: object, uri: str, what: str, remedy: str) -> None:
    """The error names the wrong part and shows the form, never a regular expression."""
    assert callable(parse)
    with pytest.raises(UriInvalid) as error:
        parse(uri)
    assert what in error.value.what
    assert remedy in error.value.remedy
    assert not re.search(r"\[A-Za-z|\\w|\(\?", str(error.value))


def test_a_password_in_a_sink_uri_is_not_repeated() -> None:
    """A URI of another tool may hold one."""
    with pytest.raises(UriInvalid) as error:
        sink("postgresql://writer:opensesame@db.example.com/audit")
    assert "opensesame" not in str(error.value)
    assert "did you mean db+postgresql://?" in error.value.remedy

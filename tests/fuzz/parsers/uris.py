"""URIs of keys, stores, sinks and signing keys, from settings, access policies and references.

Only what needs no connection and no server is done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from secure_xcom.core.errors import ConfigurationError, PathInvalid
from secure_xcom.keys import KeyUri
from secure_xcom.keys.aws_kms_format import KmsKey
from secure_xcom.keys.local import LocalKeyring
from secure_xcom.keys.vault import split_uri as split_key
from secure_xcom.ops.audit_trail.tlog.signer_file import FileSigner
from secure_xcom.sinks.file import FileSink
from secure_xcom.sinks.objects import without_connection
from secure_xcom.sinks.python_logging import LogSink
from secure_xcom.sinks.sink_uri import SinkUri
from secure_xcom.sinks.syslog import SyslogSink
from secure_xcom.stores.bucket_uri import BucketUri, read_options
from secure_xcom.stores.files import FileStore
from secure_xcom.stores.paths import checked_path, checked_prefix
from secure_xcom.stores.vault_kv_uri import split_uri as split_kv
from tests.fuzz.harness import Harness

_URIS = (
    "vault://vault_xcom/transit/keys/xcom-finance?grant=scoped&wrap=optional",
    "aws-kms://aws_xcom/arn:aws:kms:eu-central-1:111122223333:key/mrk-1234abcd?wrap=never",
    "aws-kms://aws_xcom/alias/xcom-pay",
    "local:///opt/airflow/keys/keyring.json",
    "s3://aws_xcom@example-xcom/sealed?timeout=30&retries=5&sse=aws:kms&endpoint=https://s3.example.com",
    "gs://gcp_xcom@example-xcom/sealed",
    "abfs://azure_xcom@example-xcom/sealed%2Fx",
    "vault-kv://vault_xcom/team/secret/data/xcom",
    "file:///var/lib/xcom",
    "file:///var/log/airflow/access-log.jsonl?fsync=true&lock_wait=30&optional=true",
    "syslog+tls://[2001:db8::1]:6514?timeout=10",
    "log://secure_xcom.audit",
    "db+postgresql://writer@db.example.com/audit?table=events",
)


def _bucket(scheme: str) -> Callable[[str], None]:
    def read(uri: str) -> None:
        place = BucketUri.parse(uri, scheme)
        assert BucketUri.parse(place.uri, scheme).uri == place.uri, "the canonical URI has another canonical form"
        read_options(place, {"endpoint": None, "sse": ("AES256", "aws:kms")})

    return read


def _sink(uri: str) -> None:
    parsed = SinkUri.parse(uri)
    assert without_connection(parsed.shown)
    parsed.number("timeout", 10, least=1, most=600)
    parsed.file_path()


def _reader(read: Callable[[str], object]) -> Callable[[bytes], object]:
    # Settings come from the environment, where bytes that are not UTF-8 become surrogates (PEP 383).
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


_READERS: tuple[Callable[[str], object], ...] = (
    lambda uri: split_key(KeyUri.parse(uri).service),
    lambda uri: KmsKey.parse(KeyUri.parse(uri).service),
    lambda uri: LocalKeyring(KeyUri.parse(uri).service),
    *map(_bucket, ("s3", "gs", "abfs")),
    split_kv,
    FileStore,
    lambda path: checked_path(path, "store"),
    lambda path: checked_prefix(path, "store"),
    _sink,
    lambda uri: FileSink(SinkUri.parse(uri)),
    lambda uri: LogSink(SinkUri.parse(uri)),
    lambda uri: SyslogSink(SinkUri.parse(uri)),
    FileSigner,
)


def _seeds() -> Iterator[bytes]:
    for uri in _URIS:
        yield uri.encode()


HARNESS = Harness(
    tuple(map(_reader, _READERS)),
    (ConfigurationError, PathInvalid),
    _seeds,
    words=(
        *(uri.partition("://")[0] + "://" for uri in _URIS),
        "?wrap=", "&", "=", "%2F", "%00", "@", "#", "[", "]", "/keys/", "data/", "..", "timeout=", "endpoint=",
    ),
    longest=2048,
)  # fmt: skip

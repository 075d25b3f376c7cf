"""URIs of buckets and the Airflow connections in them, before any request is made."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom.core.errors import ConfigurationError, SettingInvalid, UriInvalid
from secure_xcom.core.service_errors import ConnectionUnknown
from secure_xcom.stores import store
from secure_xcom.stores.bucket_uri import BucketUri, read_options
from secure_xcom.stores.s3 import S3Bucket

SECRET = "not-a-real-secret-0123456789"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Default credentials, so that no test looks for a machine's own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def connect(monkeypatch: pytest.MonkeyPatch, extra: Any, **fields: Any) -> None:
    """The connection ``c`` in the environment."""
    monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps({"conn_type": "aws", **fields, "extra": extra}))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://", "not a valid bucket name"),
        ("s3:///prefix", "not a valid bucket name"),
        ("s3://Bucket/prefix", "not a valid bucket name"),
        ("s3://b", "not a valid bucket name"),
        ("s3://bucket//prefix", "not a valid prefix"),
        ("s3://bucket/a/../b", "not a valid prefix"),
        ("s3://bucket/a b", "not a valid prefix"),
        ("s3://bucket/" + "x" * 161, "over 160 bytes"),
        ("s3://bucket/a#b", "no #"),
        ("s3://@bucket/a", "not a connection id"),
        ("s3://bucket?sse", "not name=value"),
        ("s3://bucket?sse=AES256&sse=AES256", "given twice"),
        ("s3://bucket?color=red", "unknown option 'color'.*storage_class"),
        ("s3://bucket?sse=aes", "one of AES256"),
        ("s3://bucket?sse_kms_key_id=k", "needs sse=aws:kms"),
        ("s3://bucket?region=", "give region a value"),
        ("s3://bucket?endpoint=localhost:9000", "not a URL.*https://HOST"),
        ("gs://bucket?endpoint=ftp://localhost", "not a URL"),
        ("s3://bucket?endpoint=https://[", "not a URL"),
        ("gs://bucket?endpoint=https://a]", "not a URL"),
        ("abfs://container?account=a&endpoint=http://", "not a URL"),
        ("s3://bucket?storage_class=STANDARD%0A", "cannot be"),
        ("s3://bucket?timeout=30s", "whole number from 1 to 3600"),
        ("s3://bucket?timeout=0", "whole number from 1 to 3600"),
        ("s3://bucket?retries=-1", "whole number from 0"),
        ("s3://bucket?bucket_key=yes", "true, false"),
        ("abfs://container.dfs.core.windows.net/x", "no dots.*conn_id@container"),
        ("abfs://container/prefix", "account"),
        ("gs://bucket?storage_class=CHEAP", "NEARLINE"),
    ],
)
def test_mistyped_uris(uri: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store URI with a typo is refused with words that name the typo and what to write."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(UriInvalid, match=said):
        store(uri)


@pytest.mark.parametrize("scheme", ["s3", "gs", "abfs"])
def test_a_password_in_a_uri_is_not_repeated(scheme: str) -> None:
    """Credentials in front of the @ are refused, in words that do not repeat them and say which bucket."""
    with pytest.raises(UriInvalid, match="credentials belong in the Airflow connection") as caught:
        store(f"{scheme}://key:{SECRET}@bucket/prefix")
    assert SECRET not in str(caught.value)
    assert "bucket" in str(caught.value)


def test_canonical_uri() -> None:
    """Options and a slash at the end are no part of a store's URI."""
    assert store("s3://bucket/pre/fix/?region=eu-west-1&timeout=5").uri == "s3://bucket/pre/fix"
    assert store("s3://bucket").uri == "s3://bucket"


names = st.text(st.sampled_from("abc012._-"), min_size=1, max_size=20)


@given(names, names.map(lambda name: f"a{name.replace('.', '-')}b"), st.lists(names, max_size=4).map("/".join))
def test_parsing_and_writing_are_inverse(conn_id: str, bucket: str, prefix: str) -> None:
    """What was parsed is written back as it was, and parses to the same place; the rest is refused by name."""
    for uri in (
        f"s3://{bucket}/{prefix}".removesuffix("/"),
        f"s3://{conn_id}@{bucket}/{prefix}".removesuffix("/"),
    ):
        try:
            place = BucketUri.parse(uri, "s3")
        except UriInvalid:
            assert set(prefix.split("/")) & {".", ".."}
        else:
            assert place.uri == uri
            assert BucketUri.parse(place.uri, "s3") == place


def test_unknown_connection() -> None:
    """A connection that Airflow does not give is an error, never a fall back to the default credentials."""
    with pytest.raises(ConnectionUnknown, match="in its own environment, or in a local secrets file"):
        store("s3://nobody_made_this@bucket/prefix")


def test_fixed_keys_and_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, region and endpoint of the connection reach the client, and the environment's keys do not."""
    extra = {"region_name": "eu-west-1", "endpoint_url": "http://127.0.0.1:9", "aws_session_token": "token"}
    connect(monkeypatch, extra, login="mine", password=SECRET)
    client = S3Bucket("s3://c@bucket/prefix").client()
    assert client.config["region"] == "eu-west-1"
    assert client.config["endpoint"] == "http://127.0.0.1:9"
    assert client.credential_provider is not None
    given = client.credential_provider()
    assert isinstance(given, dict)
    assert (given["access_key_id"], given["secret_access_key"], given["token"]) == ("mine", SECRET, "token")


def test_service_config_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint that the connection has for S3 alone comes before its general one, the URI's before both."""
    extra = {
        "endpoint_url": "http://127.0.0.1:1",
        "service_config": {"s3": {"endpoint_url": "http://127.0.0.1:2"}},
    }
    connect(monkeypatch, extra, login="mine", password=SECRET)
    assert S3Bucket("s3://c@bucket").client().config["endpoint"] == "http://127.0.0.1:2"
    named = S3Bucket("s3://c@bucket?endpoint=http%3A%2F%2F127.0.0.1%3A3")
    assert named.client().config["endpoint"] == "http://127.0.0.1:3"


def test_options_reach_the_client() -> None:
    """Server-side encryption, region and addressing of the URI are the client's."""
    uri = "s3://bucket?region=eu-north-1&sse=aws:kms&sse_kms_key_id=alias/x&bucket_key=true&addressing=path"
    config = S3Bucket(uri).client().config
    assert config["region"] == "eu-north-1"
    assert config["server_side_encryption"] == "aws:kms"
    assert config["sse_kms_key_id"] == "alias/x"
    assert str(config["sse_bucket_key_enabled"]).lower() == "true"


def test_plain_http_only_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an http:// endpoint the client speaks TLS only, and checks certificates unless told not to."""
    assert S3Bucket("s3://bucket").client().client_options is not None
    options = dict(S3Bucket("s3://bucket").client().client_options or {})
    assert str(options.get("allow_http", "false")).lower() == "false"
    assert "allow_invalid_certificates" not in options
    connect(monkeypatch, {"verify": False}, login="mine", password=SECRET)
    options = dict(S3Bucket("s3://c@bucket").client().client_options or {})
    assert str(options["allow_invalid_certificates"]).lower() == "true"


def test_unknown_extra_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Options of the connection that have no effect on the store are named in the log, without their values."""
    extra = {"host": SECRET, "s3_config_file": SECRET, "config_kwargs": {"tcp_keepalive": True}}
    connect(monkeypatch, extra, login="mine", password=SECRET)
    with caplog.at_level(logging.WARNING):
        store("s3://c@bucket")
    assert "host, s3_config_file" in caplog.text
    assert "tcp_keepalive" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"config_kwargs": {"s3": {"payload_signing_enabled": True}}}, "payload_signing_enabled of the s3"),
        ({"config_kwargs": {"signature_version": "s3"}}, "signature_version of the config_kwargs, other than"),
        ({"config_kwargs": {"retries": {}}}, "retries of the config_kwargs, in place of which"),
        ({"service_config": {"s3": {"bucket_name": "b"}}}, "bucket_name of the service_config"),
        ({"config_kwargs": {"s3": {"addressing_style": "auto"}, "signature_version": "s3v4"}}, ""),
        ({"service_config": {"kms": {"endpoint_url": "http://127.0.0.1:2"}}}, ""),
    ],
)
def test_what_has_no_effect_within_an_option_is_said(
    extra: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Parts of an option that have no effect are named as well, and what changes nothing is not complained of."""
    connect(monkeypatch, extra, login="mine", password=SECRET)
    with caplog.at_level(logging.WARNING):
        made = S3Bucket("s3://c@bucket")
    assert said in caplog.text
    assert bool(said) == bool(caplog.text)
    # A bucket at AWS itself is addressed as AWS does, unless it is told otherwise.
    assert str(made.client().config["virtual_hosted_style_request"]).lower() == "true"


def test_no_endpoint_for_s3_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the hook reads it, null for S3 is AWS's own endpoint, whatever the others have."""
    extra = {"endpoint_url": "http://127.0.0.1:1", "service_config": {"s3": {"endpoint_url": None}}}
    connect(monkeypatch, extra, login="mine", password=SECRET)
    endpoint = S3Bucket("s3://c@bucket").client().config["endpoint"]
    assert endpoint == "https://bucket.s3.us-east-1.amazonaws.com"


def test_a_panic_of_obstore_is_an_unavailable_store() -> None:
    """What makes obstore panic, which is no `Exception`, is an error of ours as well."""
    code = (
        "from secure_xcom.core.store_errors import StoreUnavailable\n"
        "from secure_xcom.stores import store\n"
        "try: store('s3://bucket?endpoint=http://127.0.0.1:1&retries=0').put('a/b', [b'x'])\n"
        "except StoreUnavailable as error: print(error.what)\n"
    )
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "tests\n", "RUST_BACKTRACE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert "PanicException" in done.stdout


@pytest.mark.parametrize(
    "extra",
    [
        {"role_arn": "arn:aws:iam::000000000000:role/x", "assume_role_method": SECRET},
        {"profile_name": SECRET},
        {"service_config": SECRET},
        {"config_kwargs": [SECRET]},
        {"verify": f"/nowhere/{SECRET}"},
        {"endpoint_url": f"localhost:9000/{SECRET}"},
        {"region_name": "eu central"},
        {"config_kwargs": {"s3": SECRET}},
        {"config_kwargs": {"s3": {"addressing_style": SECRET}}},
        {"aws_session_token": f"{SECRET}\n"},
    ],
)
def test_unusable_connections(extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that cannot be used is SettingInvalid, in words that do not repeat what it holds."""
    connect(monkeypatch, extra, login="mine", password=SECRET)
    with pytest.raises(SettingInvalid) as caught:
        store("s3://c@bucket")
    assert SECRET not in caught.value.what
    assert isinstance(caught.value, ConfigurationError)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_nothing_secret_in_reprs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a store nor what it is made of shows a key when it is printed."""
    connect(monkeypatch, {"aws_session_token": SECRET}, login="mine", password=SECRET)
    made = S3Bucket("s3://c@bucket")
    assert SECRET not in repr(vars(made))
    assert SECRET not in repr(vars(store("s3://c@bucket")))


def test_an_option_of_many_digits_is_out_of_range() -> None:
    """A number of more digits than Python reads is refused like every other that is too large."""
    with pytest.raises(UriInvalid, match="timeout is not a whole number from 1 to 3600"):
        read_options(BucketUri.parse(f"s3://bucket/x?timeout={'9' * 5000}", "s3"), {})

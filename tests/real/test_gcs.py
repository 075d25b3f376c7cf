"""Google Cloud Storage against a double of its two APIs, or against a real bucket when one is named.

With `SECURE_XCOM_TEST_GCS_BUCKET` the contract runs against that bucket with Google's default credentials.
"""

from __future__ import annotations

import gc
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from secure_xcom.core.errors import ObjectExists, SettingInvalid
from secure_xcom.core.store_errors import StoreDenied, StoreUnavailable
from secure_xcom.stores import Store, store
from tests.support.clients_agree import assert_no_variable_matters
from tests.support.servers.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.support.servers.gcs_double import GcsDouble, gcs_double
from tests.support.store_contract import StoreContract

LARGE = [bytes([number]) * (1 << 20) for number in range(20)]
TOKEN = "a-token-of-the-double"
REAL_BUCKET = os.environ.get("SECURE_XCOM_TEST_GCS_BUCKET")


@pytest.fixture(scope="module")
def double() -> Iterator[GcsDouble]:
    """One double for this file."""
    pytest.importorskip("google.cloud.storage", reason="install google-cloud-storage")
    with gcs_double("bucket", TOKEN) as found:
        yield found


@pytest.fixture(scope="module")
def key_file() -> dict[str, str]:
    """A service account's key, made for this run."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "tests",
        "private_key_id": "tests",
        "private_key": private.decode(),
        "client_email": "tests@tests.invalid",
        "client_id": "tests",
    }


@pytest.fixture
def tokens(key_file: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Application default credentials whose tokens come from a double of Google's token server."""
    with faulty_proxy("http://127.0.0.1:9") as server:
        server.faults += [Fault("answer", status=200, body=token_answer(TOKEN))] * 50
        path = tmp_path / "key.json"
        path.write_text(json.dumps({**key_file, "token_uri": f"{server.endpoint}/token"}))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        # google-auth asks Google for regional boundaries behind one's back: no request is to leave this machine.
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        yield server


def token_answer(token: str, seconds: int = 3600) -> bytes:
    """What Google's token server answers."""
    return json.dumps({"access_token": token, "expires_in": seconds, "token_type": "Bearer"}).encode()


@pytest.fixture
def proxy(double: GcsDouble) -> Iterator[FaultyProxy]:
    """A proxy in front of the double, without faults at first."""
    with faulty_proxy(double.endpoint) as found:
        yield found


@pytest.fixture
def prefix() -> str:
    """A prefix of its own for each test."""
    return f"test/{uuid.uuid4().hex}"


class TestContract(StoreContract):
    @pytest.fixture
    def store(self, double: GcsDouble, tokens: FaultyProxy) -> Store:
        """Below a prefix, with application default credentials."""
        return store(f"gs://bucket/pre?endpoint={double.endpoint}")


@pytest.mark.on_request
@pytest.mark.skipif(not REAL_BUCKET, reason="SECURE_XCOM_TEST_GCS_BUCKET names no real bucket")
class TestContractOfRealBucket(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        """A bucket of the caller's, with the caller's application default credentials."""
        return store(f"gs://{REAL_BUCKET}/secure-xcom-tests/{uuid.uuid4().hex}")


def test_connection(
    double: GcsDouble,
    tokens: FaultyProxy,
    key_file: dict[str, str],
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The key of an Airflow connection opens the bucket through GoogleBaseHook, for small and large payloads."""
    pytest.importorskip("airflow.providers.google", reason="install secure-xcom[gcp]")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    key = {**key_file, "token_uri": f"{tokens.endpoint}/token"}
    connection = {"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": key, "project": "tests"}}
    monkeypatch.setenv("AIRFLOW_CONN_GCS_TEST", json.dumps(connection))
    mine = store(f"gs://gcs_test@bucket/{prefix}?endpoint={double.endpoint}")
    mine.put("small", [b"sealed"])
    mine.put("large", LARGE)
    assert list(mine.get_many(["small", "large"])) == [b"sealed", b"".join(LARGE)]
    assert f"{prefix}/small" in double.blobs
    assert mine.delete_many(["small", "large"]) == [None, None]


def test_anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    """An anonymous connection is refused at once, since its puts and deletions would be."""
    pytest.importorskip("airflow.providers.google", reason="install secure-xcom[gcp]")
    connection = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True}}
    monkeypatch.setenv("AIRFLOW_CONN_GCS_PUBLIC", json.dumps(connection))
    with pytest.raises(SettingInvalid, match="anonymous, but payloads need an identity"):
        store("gs://gcs_public@bucket/prefix")


def test_no_variable_comes_behind_what_is_configured(
    double: GcsDouble,
    proxy: FaultyProxy,
    tokens: FaultyProxy,
    key_file: dict[str, str],
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever variable of obstore a worker has, all payloads go to the same place, signed the same."""
    pytest.importorskip("airflow.providers.google", reason="install secure-xcom[gcp]")
    tokens.faults += [Fault("answer", status=200, body=token_answer(TOKEN))] * 200
    key = {**key_file, "token_uri": f"{tokens.endpoint}/token"}
    connection = {"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": key, "project": "tests"}}
    monkeypatch.setenv("AIRFLOW_CONN_GCS_TEST", json.dumps(connection))
    uri = f"gs://gcs_test@bucket/{prefix}?endpoint={proxy.endpoint}"
    with faulty_proxy(double.endpoint) as elsewhere:
        # A proxy for all requests is Google's SDK's rule for its login as well.
        assert_no_variable_matters("GOOGLE_", uri, proxy, elsewhere, monkeypatch, without=frozenset({"ALL_PROXY"}))


def test_token_is_renewed_in_mid_run(double: GcsDouble, tokens: FaultyProxy, prefix: str) -> None:
    """A token that ends is replaced by the next one; when the token server refuses, it is said."""
    tokens.faults[:] = [Fault("answer", status=200, body=token_answer(TOKEN, seconds=1))] * 2
    tokens.faults += [Fault("answer", status=200, body=token_answer("another"))]
    mine = store(f"gs://bucket/{prefix}?endpoint={double.endpoint}")
    mine.put("a", [b"sealed"])
    while tokens.faults:
        # The third token is one that the double does not take: that it is refused shows that it is in use.
        time.sleep(0.2)
        try:
            assert list(mine.get("a")) == [b"sealed"]
        except StoreDenied:
            break
    assert len(tokens.seen) == 3
    denied = b'{"error": "invalid_grant", "error_description": "SECRET"}'
    tokens.faults += [Fault("answer", status=400, body=denied)] * 20
    other = store(f"gs://bucket/{prefix}?endpoint={double.endpoint}")
    for payload in ([b"x"], LARGE):
        with pytest.raises(StoreDenied, match=r"cannot be loaded or renewed \(RefreshError\)") as caught:
            other.put("b", payload)
        assert "SECRET" not in str(caught.value)


def test_missing_bucket(double: GcsDouble, tokens: FaultyProxy) -> None:
    """A bucket that does not exist is an unavailable store for every method."""
    mine = store(f"gs://absent-bucket/pre?endpoint={double.endpoint}")
    for call in (
        lambda: mine.put("a", [b"x"]),
        lambda: mine.put("a", LARGE),
        lambda: mine.get("a"),
        lambda: list(mine.list()),
    ):
        with pytest.raises(StoreUnavailable, match="bucket does not exist"):
            call()


@pytest.mark.parametrize("payload", [[b"sealed"], LARGE], ids=["small", "large"])
def test_lost_answer_of_a_put(
    double: GcsDouble, tokens: FaultyProxy, proxy: FaultyProxy, prefix: str, payload: list[bytes]
) -> None:
    """A put that the server did and whose answer was lost finds its own object and succeeds."""
    mine = store(f"gs://bucket/{prefix}?endpoint={proxy.endpoint}")
    if len(payload) == 1:
        proxy.faults.append(Fault("lose", "PUT"))
    else:

        def lose_the_third_part(method: str) -> None:
            # It is the last one, with which the object is there.
            if method == "PUT" and len(proxy.seen) == 3:
                proxy.faults.append(Fault("lose", "PUT"))

        proxy.before_pass = lose_the_third_part
    mine.put("a", payload)
    assert proxy.faults == []
    assert b"".join(mine.get("a")) == b"".join(payload)
    with pytest.raises(ObjectExists):
        mine.put("a", [b"another"])


@pytest.mark.parametrize("payload", [[b"sealed"], LARGE], ids=["small", "large"])
def test_a_slow_answer_is_waited_for_as_long_as_told(
    double: GcsDouble, tokens: FaultyProxy, proxy: FaultyProxy, prefix: str, payload: list[bytes]
) -> None:
    """The time-out and the retries of the store URI hold for small and for large puts."""
    mine = store(f"gs://bucket/{prefix}?endpoint={proxy.endpoint}&timeout=1&retries=0")
    proxy.faults += [Fault("wait", "PUT", seconds=5)] * 3
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        mine.put("slow", payload)
    assert time.monotonic() - began < 5
    assert len([seen for seen in proxy.seen if seen.startswith("PUT")]) == 1


def test_failed_large_put_leaves_nothing(double: GcsDouble, tokens: FaultyProxy, prefix: str) -> None:
    """When sealing fails in the middle of a large payload the upload is cancelled: no object, no upload."""

    def pieces() -> Iterator[bytes]:
        yield from LARGE
        raise RuntimeError("sealing failed")

    mine = store(f"gs://bucket/{prefix}?endpoint={double.endpoint}")
    with pytest.raises(RuntimeError, match="sealing failed"):
        mine.put("a", pieces())
    assert list(mine.list()) == []
    assert double.uploads == {}


def test_what_cannot_be_cancelled_is_not_completed_either(
    double: GcsDouble, tokens: FaultyProxy, proxy: FaultyProxy, prefix: str
) -> None:
    """When the cancelling is lost too, what was sent so far never becomes an object, cut short."""

    def pieces() -> Iterator[bytes]:
        yield from LARGE
        proxy.faults.extend([Fault("drop", "DELETE")] * 9)
        raise RuntimeError("sealing failed")

    mine = store(f"gs://bucket/{prefix}?endpoint={proxy.endpoint}")
    with pytest.raises(RuntimeError, match="sealing failed"):
        mine.put("a", pieces())
    gc.collect()
    assert len(double.uploads) == 1
    assert list(mine.list()) == []
    double.uploads.clear()


def test_storage_class(double: GcsDouble, tokens: FaultyProxy, prefix: str) -> None:
    """The storage class is asked for with every put, small and large."""
    mine = store(f"gs://bucket/{prefix}?endpoint={double.endpoint}&storage_class=NEARLINE")
    mine.put("small", [b"sealed"])
    mine.put("large", LARGE)
    assert {double.blobs[f"{prefix}/{name}"].storage_class for name in ("small", "large")} == {"NEARLINE"}

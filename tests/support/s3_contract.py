"""What every S3 server must do for this product: its errors, large objects, and identities with few rights.

The tests of each server inherit this class. Identities are made through the server's IAM.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from secure_xcom.core.errors import ObjectExists, ObjectMissing
from secure_xcom.core.store_errors import StoreDenied, StoreUnavailable
from secure_xcom.stores import Store, store
from tests.support.servers.faulty_proxy import FaultyProxy
from tests.support.servers.s3_server import REGION, Identity, S3Server, allow

LARGE = [bytes([number]) * (1 << 20) for number in range(20)]


def connect(monkeypatch: pytest.MonkeyPatch, endpoint: str, identity: Identity | None, **extra: Any) -> str:
    """An Airflow connection in the environment, as Airflow's own users write it."""
    conn_id = f"s3_{uuid.uuid4().hex[:8]}"
    connection: dict[str, Any] = {"conn_type": "aws"}
    if identity:
        connection.update(login=identity.access_key, password=identity.secret_key)
        if identity.token:
            extra = {"aws_session_token": identity.token, **extra}
    connection["extra"] = {"endpoint_url": endpoint, "region_name": REGION, **extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    return conn_id


def opened(
    monkeypatch: pytest.MonkeyPatch, at: S3Server | FaultyProxy, identity: Identity, place: str, **extra: Any
) -> Store:
    """The store at ``bucket/prefix`` for an identity."""
    return store(f"s3://{connect(monkeypatch, at.endpoint, identity, **extra)}@{place}")


class S3Contract:
    """Inherit it in a file with the fixtures ``server``, ``bucket``, ``versioned`` and ``prefix``."""

    def test_worker_of_one_compartment(
        self, server: S3Server, bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A worker of compartment a puts and gets below a's prefix; the server refuses it b's, also to boto3."""
        everyone = opened(monkeypatch, server, server.root, f"{bucket}/{prefix}")
        everyone.put("b/secret", [b"sealed"])
        worker = server.identity(allow(["PutObject", "GetObject"], f"{bucket}/{prefix}/a/*"))
        mine = opened(monkeypatch, server, worker, f"{bucket}/{prefix}")
        mine.put("a/x", [b"sealed"])
        assert list(mine.get("a/x")) == [b"sealed"]
        with pytest.raises(StoreDenied, match="policy compile"):
            mine.get("b/secret")
        with pytest.raises(StoreDenied):
            mine.put("b/new", [b"x"])
        with pytest.raises(StoreDenied):
            mine.put("b/large", LARGE)
        with pytest.raises(StoreDenied):
            list(mine.list("a"))
        assert isinstance(mine.delete_many(["a/x"])[0], StoreDenied)
        raw = server.client(worker)
        calls: list[Callable[[], object]] = [
            lambda: raw.get_object(Bucket=bucket, Key=f"{prefix}/b/secret"),
            lambda: raw.put_object(Bucket=bucket, Key=f"{prefix}/b/new", Body=b"x"),
            lambda: raw.list_objects_v2(Bucket=bucket),
            lambda: raw.delete_object(Bucket=bucket, Key=f"{prefix}/b/secret"),
        ]
        for call in calls:
            with pytest.raises(raw.exceptions.ClientError, match="AccessDenied"):
                call()
        assert [found.path for found in everyone.list("b")] == ["b/secret"]

    def test_one_denied_object_spares_the_others(
        self, server: S3Server, bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In get_many and delete_many a refusal stands in the place of its object."""
        everyone = opened(monkeypatch, server, server.root, f"{bucket}/{prefix}")
        for path in ("a/1", "b/2", "a/3"):
            everyone.put(path, [path.encode()])
        part = server.identity(allow(["GetObject", "DeleteObject"], f"{bucket}/{prefix}/a/*"))
        mine = opened(monkeypatch, server, part, f"{bucket}/{prefix}")
        first, second, third = mine.get_many(["a/1", "b/2", "a/3"])
        assert (first, type(second), third) == (b"a/1", StoreDenied, b"a/3")
        answers = mine.delete_many(["a/1", "b/2", "a/3"])
        assert [type(answer) for answer in answers] == [type(None), StoreDenied, type(None)]
        assert [found.path for found in everyone.list()] == ["b/2"]

    def test_writer_cannot_read(
        self, server: S3Server, bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A writer-only identity puts small and large payloads and cannot read even what it wrote."""
        writer = server.identity(allow(["PutObject", "AbortMultipartUpload"], f"{bucket}/{prefix}/*"))
        mine = opened(monkeypatch, server, writer, f"{bucket}/{prefix}")
        mine.put("small", [b"sealed"])
        mine.put("large", LARGE)
        for path in ("small", "large"):
            with pytest.raises(StoreDenied):
                mine.get(path)
            with pytest.raises(ObjectExists):
                mine.put(path, [b"other"])
        everyone = opened(monkeypatch, server, server.root, f"{bucket}/{prefix}")
        assert b"".join(everyone.get("large")) == b"".join(LARGE)

    def test_reader_cannot_write(
        self, server: S3Server, bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reader-only identity gets and cannot put, list or delete."""
        opened(monkeypatch, server, server.root, f"{bucket}/{prefix}").put("a", [b"sealed"])
        reader = server.identity(allow(["GetObject"], f"{bucket}/{prefix}/*"))
        mine = opened(monkeypatch, server, reader, f"{bucket}/{prefix}")
        assert list(mine.get("a")) == [b"sealed"]
        with pytest.raises(StoreDenied):
            mine.put("b", [b"x"])
        with pytest.raises(StoreDenied):
            mine.put("b", LARGE)
        with pytest.raises(StoreDenied):
            list(mine.list())
        assert isinstance(mine.delete_many(["a"])[0], StoreDenied)

    def test_maintenance_lists_and_deletes(
        self, server: S3Server, bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A maintenance identity lists and deletes below its prefix and cannot read a payload."""
        everyone = opened(monkeypatch, server, server.root, f"{bucket}/{prefix}")
        everyone.put("a/x", [b"sealed"])
        keeper = server.identity(
            allow(["ListBucket"], bucket, StringLike={"s3:prefix": [f"{prefix}/*"]}),
            allow(["DeleteObject"], f"{bucket}/{prefix}/*"),
        )
        mine = opened(monkeypatch, server, keeper, f"{bucket}/{prefix}")
        assert [found.path for found in mine.list()] == ["a/x"]
        with pytest.raises(StoreDenied):
            mine.get("a/x")
        assert mine.delete_many(["a/x"]) == [None]
        assert list(everyone.list()) == []
        with pytest.raises(StoreDenied):
            list(opened(monkeypatch, server, keeper, bucket).list())

    def test_failed_large_put_leaves_no_parts(
        self, server: S3Server, bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When sealing fails in the middle of a large payload the upload is aborted: no object and no parts."""

        def pieces() -> Iterator[bytes]:
            yield from LARGE
            raise RuntimeError("sealing failed")

        mine = opened(monkeypatch, server, server.root, f"{bucket}/{prefix}")
        with pytest.raises(RuntimeError, match="sealing failed"):
            mine.put("large", pieces())
        uploads = server.client().list_multipart_uploads(Bucket=bucket, Prefix=prefix)
        assert uploads.get("Uploads", []) == []
        assert list(mine.list()) == []

    def test_refused_large_put_leaves_no_parts(
        self, server: S3Server, bucket: str, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When a large payload meets an object that is there, its parts are removed."""
        mine = opened(monkeypatch, server, server.root, f"{bucket}/{prefix}")
        mine.put("large", LARGE)
        with pytest.raises(ObjectExists):
            mine.put("large", reversed(LARGE))
        uploads = server.client().list_multipart_uploads(Bucket=bucket, Prefix=prefix)
        assert uploads.get("Uploads", []) == []
        assert b"".join(mine.get("large")) == b"".join(LARGE)

    def test_missing_bucket(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bucket that does not exist is an unavailable store for every method, never a missing object."""
        mine = opened(monkeypatch, server, server.root, f"absent-{uuid.uuid4().hex}")
        for call in (
            lambda: mine.put("a", [b"x"]),
            lambda: mine.put("a", LARGE),
            lambda: mine.get("a"),
            lambda: list(mine.list()),
        ):
            with pytest.raises(StoreUnavailable, match="bucket does not exist"):
                call()
        assert isinstance(next(mine.get_many(["a"])), StoreUnavailable)

    def test_deleted_versions_stay_below_the_marker(
        self, server: S3Server, versioned: str, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On a versioned bucket a deleted object is missing and unlisted, and the bucket keeps its version."""
        kept = opened(monkeypatch, server, server.root, f"{versioned}/{prefix}")
        kept.put("a", [b"sealed"])
        assert kept.delete_many(["a"]) == [None]
        with pytest.raises(ObjectMissing):
            kept.get("a")
        assert list(kept.list()) == []
        versions = server.client().list_object_versions(Bucket=versioned, Prefix=prefix)
        assert [version["Key"] for version in versions["Versions"]] == [f"{prefix}/a"]

    @pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
    def test_wrong_keys(self, server: S3Server, bucket: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wrong keys are StoreDenied, the message names the connection's credentials and repeats none of them."""
        keys = {
            "access_key": server.root.access_key,
            "secret_key": server.root.secret_key,
            wrong: "WRONG0123456789",
        }
        mine = opened(monkeypatch, server, Identity(**keys), bucket)
        for payload in ([b"x"], LARGE):
            with pytest.raises(StoreDenied, match="Airflow connection") as caught:
                mine.put("a", payload)
            assert not any(key in str(caught.value) for key in keys.values())

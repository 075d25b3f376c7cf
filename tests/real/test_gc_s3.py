"""Gc on a real S3 and a real PostgreSQL: plain, versioned and locked buckets, and servers that go away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.operator_errors import DatabaseFailed
from secure_xcom.core.store_errors import StoreDenied
from secure_xcom.ops.jobs.gc import collect
from secure_xcom.ops.jobs.gc_report import GcReport
from secure_xcom.stores import store
from secure_xcom.stores.s3_versions import EveryVersion, bucket_state
from tests.support.servers.postgres_server import PostgresServer, postgres_server
from tests.support.servers.s3_server import REGION, Identity, S3Server, allow, s3_server
from tests.support.upkeep_world import ZERO, Upkeep, settle
from tests.support.world import own_task


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """A server for this file."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server for this file."""
    with postgres_server() as server:
        yield server


def deployment(
    folder: Path, s3: S3Server, postgres: PostgresServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Upkeep:
    """A deployment on both servers."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.root.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.root.secret_key)
    monkeypatch.setenv("AWS_REGION", REGION)
    return Upkeep(folder, postgres.new_database(), f"s3://{bucket}/sealed?endpoint={s3.endpoint}")


def run(upkeep: Upkeep, *, delete: bool = True, **options: Any) -> GcReport:
    """Gc without a window."""
    settle()
    database = upkeep.table.database()
    try:
        return collect(upkeep.policy, database, upkeep.state, delete=delete, window=ZERO, max_share=1.0, **options)
    finally:
        database.close()


def test_thousands_of_payloads(
    s3: S3Server, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 2,400 payloads half are orphans of several tasks: they go, in bulk, and the others can be pulled."""
    upkeep = deployment(tmp_path, s3, postgres, s3.make_bucket(), monkeypatch)
    from secure_xcom.core.pipeline.push_and_pull import Push
    from tests.support.world import coordinate

    pipeline = upkeep.pipeline()
    pushes = [Push(coordinate(map_index=n % 1200, key=f"k{n}"), {"n": n}) for n in range(2400)]
    pushed = pipeline.push(pushes, producer=own_task(pushes[0].coordinate))
    upkeep.table.put_many(
        (push.coordinate, value) for n, (push, value) in enumerate(zip(pushes, pushed, strict=True)) if n % 2
    )
    dry = run(upkeep, delete=False)
    assert (dry.payloads, dry.orphans, dry.references, dry.missing) == (2400, 1200, 1200, 0)
    assert dry.stores[0]["versioning"] == "off"
    assert run(upkeep).deleted == 1200
    assert len(upkeep.objects()) == 1200
    assert upkeep.pull(pushes[1].coordinate) == {"n": 1}
    upkeep.close()


def test_a_versioned_bucket(
    s3: S3Server, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a versioned bucket gc says that versions stay, and with every version looked at it removes them too."""
    bucket = s3.make_bucket()
    client = s3.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    upkeep = deployment(tmp_path, s3, postgres, bucket, monkeypatch)
    live = upkeep.push("live")
    for _ in range(3):
        upkeep.push("orphan", row=False)
    report = run(upkeep)
    assert report.deleted == 3
    assert report.stores[0]["versioning"] == "enabled"
    assert len(client.list_object_versions(Bucket=bucket).get("Versions", ())) == 4
    again = run(upkeep, stores=EveryVersion)
    assert (again.orphans, again.deleted, again.failed) == (3, 3, 0)
    left = client.list_object_versions(Bucket=bucket)
    assert (len(left["Versions"]), left.get("DeleteMarkers", [])) == (1, [])
    assert upkeep.pull(live) == "live"
    upkeep.close()


def test_a_locked_bucket(
    s3: S3Server, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version under object lock is named as what could not be deleted, and the others go."""
    bucket = s3.make_bucket(ObjectLockEnabledForBucket=True)
    upkeep = deployment(tmp_path, s3, postgres, bucket, monkeypatch)
    for _ in range(2):
        upkeep.push("orphan", row=False)
    client = s3.client()
    key = client.list_objects_v2(Bucket=bucket)["Contents"][0]["Key"]
    client.put_object_retention(
        Bucket=bucket,
        Key=key,
        Retention={
            "Mode": "COMPLIANCE",
            "RetainUntilDate": datetime.now(timezone.utc) + timedelta(days=1),
        },
    )
    assert bucket_state(upkeep.store_uri)["versioning"] == "enabled"
    report = run(upkeep, stores=EveryVersion)
    assert (report.deleted, report.failed) == (1, 1)
    assert key in report.failures[0]
    upkeep.close()


def test_rights_are_those_of_the_caretaker(
    s3: S3Server, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An identity that may list and delete, and not read, is enough; one that may not delete is told so."""
    bucket = s3.make_bucket()
    upkeep = deployment(tmp_path, s3, postgres, bucket, monkeypatch)
    upkeep.push("live")
    upkeep.push("orphan", row=False)

    def act_as(identity: Identity) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", identity.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", identity.secret_key)

    act_as(s3.identity(allow(["ListBucket"], bucket)))
    denied = run(upkeep)
    assert (denied.orphans, denied.failed, denied.deleted) == (1, 1, 0)
    act_as(s3.identity(allow(["ListBucket"], bucket), allow(["DeleteObject"], f"{bucket}/sealed/pay/*")))
    assert run(upkeep).deleted == 1
    path = next(found.path for found in store(upkeep.store_uri).list())
    with pytest.raises(StoreDenied):
        b"".join(store(upkeep.store_uri).get(path))
    upkeep.close()


def test_a_database_that_goes_away_in_the_middle(
    s3: S3Server, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL stops after the stores were listed: gc ends with an error, and goes on when it is back."""
    upkeep = deployment(tmp_path, s3, postgres, s3.make_bucket(), monkeypatch)
    live = upkeep.push("live")
    upkeep.push("orphan", row=False)
    upkeep.close()
    seen: list[str] = []

    def progress(doing: str, _done: int, _of: int | None) -> None:
        if not seen:
            postgres.stop()
        seen.append(doing)

    try:
        with pytest.raises(DatabaseFailed):
            run(upkeep, progress=progress)
        assert json.dumps(seen).count("listing") == len(seen) > 0
        assert len(upkeep.objects()) == 2
    finally:
        postgres.start()
    assert run(upkeep).deleted == 1
    assert upkeep.pull(live) == "live"
    upkeep.close()

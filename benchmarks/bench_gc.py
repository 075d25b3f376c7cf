"""What gc and doctor cost for a million payloads and a million rows: time and peak memory.

    python benchmarks/bench_gc.py [--count COUNT] [--s3 COUNT] [--database sqlite|postgres] [--jobs gc doctor]

The large count runs on a streaming double of the store interface, which makes up the listing as it goes (no
machine of a developer has a million objects), and on a real database of a million rows, PostgreSQL if there is
one. Every tenth payload is an orphan. The rows are examined as `doctor` does, by a process of its own; its
comparison of rows and payloads is that of gc. A tenth of the count comes first, to show how the cost grows. Ten
million need 14 GB of disk. The smaller count runs on a real S3, SeaweedFS on loopback.

Claims: peak memory of a million stays under 250 MiB and under 1.5 times that of a tenth; the orphans are found to
the last one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.large_table import LONG_AGO, ORPHAN_EVERY, fill, path_of, template
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import StoreError
from secure_xcom.ops.jobs.doctor_rows import examine_rows
from secure_xcom.ops.jobs.gc import collect
from secure_xcom.ops.xcom_table import Database
from secure_xcom.stores import StoredObject
from tests.support.servers.postgres_server import postgres_server
from tests.support.upkeep_world import Upkeep


class Listing:
    """The streaming double: a store of so many payloads that is never held anywhere."""

    def __init__(self, uri: str, count: int) -> None:
        self.uri = uri
        self.count = count
        self.deleted = 0

    def list(self, _prefix: str = "") -> Iterator[StoredObject]:
        """Every payload, made up as it is asked for."""
        return (StoredObject(path_of(number), 10_000, LONG_AGO) for number in range(self.count))

    def delete_many(self, paths: Sequence[str]) -> Sequence[StoreError | None]:
        """Count."""
        self.deleted += len(paths)
        return [None] * len(paths)


def child(url: str, folder: str, count: int, job: str) -> None:
    """In a process of its own: a job, then its time and peak memory."""
    policy = AccessPolicy.load(f"{folder}/policy.yaml")
    database = Database(url)
    begun = time.monotonic()
    rows = gc(policy, database, folder, count) if job == "gc" else doctor(policy, database, count)
    taken = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({"seconds": taken, "processor": time.process_time(), "peak": peak, "rows": rows}))


def gc(policy: AccessPolicy, database: Database, folder: str, count: int) -> int:
    """Collect on the streaming double."""
    listing = Listing(policy.compartments[0].store_uri, count)
    report = collect(
        policy,
        database,
        Path(folder) / "state.sqlite",
        delete=True,
        stores=lambda _: listing,  # type: ignore[arg-type,return-value]  # gc lists and deletes, nothing else
    )
    assert (report.payloads, report.deleted, listing.deleted) == (count, count // ORPHAN_EVERY, report.orphans)
    assert report.missing == 0
    return report.rows


def doctor(policy: AccessPolicy, database: Database, count: int) -> int:
    """Examine the rows, none of which has a problem."""
    examined = examine_rows(policy, database)
    assert (examined.rows, examined.findings) == (count - count // ORPHAN_EVERY, []), examined
    return examined.rows


def double(kind: str, url_of: Any, count: int, jobs: Sequence[str]) -> None:
    """The streaming double against a real database."""
    peaks: dict[str, list[int]] = {job: [] for job in jobs}
    for number in (count // 10, count):
        with tempfile.TemporaryDirectory(prefix="secure-xcom-bench-") as folder:
            url = url_of(folder)
            upkeep = Upkeep(Path(folder) / "one", url=url)
            begun = time.monotonic()
            fill(upkeep.table, template(upkeep), upkeep.store_uri, number)
            upkeep.close()
            print(f"{kind}: filled in {time.monotonic() - begun:.0f} s", flush=True)
            for job in jobs:
                words = [sys.executable, __file__, "--child", url, f"{folder}/one", str(number), job]
                done = json.loads(
                    subprocess.run(
                        words,
                        stdout=subprocess.PIPE,
                        text=True,
                        check=True,
                        env={**os.environ, "PYTHONPATH": str(ROOT)},
                    ).stdout
                )
                peaks[job].append(done["peak"])
                print(
                    f"{job} on {kind}: {number} payloads (streaming double), {done['rows']} rows: "
                    f"{done['seconds']:.1f} s, {number / done['seconds']:.0f} payloads/s, "
                    f"processor time {done['processor']:.1f} s, peak memory {done['peak']} MiB, "
                    f"load {os.getloadavg()[1]:.0f}",
                    flush=True,
                )
    for job, (small, large) in peaks.items():
        print(f"{job} on {kind}: peak memory of ten times as many: {large / small:.2f} x")
        assert large < 250, large
        assert large < 1.5 * small, (small, large)


def real(count: int) -> None:
    """A real S3 with real payloads."""
    from obstore.store import S3Store

    from tests.support.servers.s3_server import REGION, s3_server

    with s3_server() as server, tempfile.TemporaryDirectory(prefix="secure-xcom-bench-") as folder:
        bucket = server.make_bucket()
        os.environ |= {
            "AWS_ACCESS_KEY_ID": server.root.access_key,
            "AWS_SECRET_ACCESS_KEY": server.root.secret_key,
            "AWS_REGION": REGION,
        }
        upkeep = Upkeep(Path(folder) / "one", store_uri=f"s3://{bucket}/x?endpoint={server.endpoint}")
        raw = S3Store(
            bucket, prefix="x", endpoint=server.endpoint, region=REGION, client_options={"allow_http": True}
        )
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda number: raw.put(path_of(number), b"x" * 100), range(count)))
        fill(upkeep.table, template(upkeep), f"s3://{bucket}/x", count)
        database = upkeep.table.database()
        begun = time.monotonic()
        report = collect(
            upkeep.policy,
            database,
            upkeep.state,
            delete=True,
            window=timedelta(0),
        )
        taken = time.monotonic() - begun
        assert (report.payloads, report.deleted, report.missing) == (count, count // ORPHAN_EVERY, 0), report
        print(
            f"SeaweedFS: {count} real payloads, {report.rows} rows: {taken:.1f} s, {count / taken:.0f} "
            f"payloads/s, {report.deleted} deleted"
        )
        upkeep.close()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--s3", type=int, default=20_000)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="postgres")
    parser.add_argument("--jobs", nargs="+", choices=("gc", "doctor"), default=["gc", "doctor"])
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child[0], chosen.child[1], int(chosen.child[2]), chosen.child[3])
        return
    if chosen.database == "sqlite":
        double("SQLite", lambda folder: f"sqlite:///{folder}/airflow.db", chosen.count, chosen.jobs)
    else:
        with postgres_server() as server:
            double("PostgreSQL", lambda _: server.new_database(), chosen.count, chosen.jobs)
    if chosen.s3:
        real(chosen.s3)


if __name__ == "__main__":
    main()

"""What gc costs for a million payloads and a million rows: time and peak memory.

    python benchmarks/bench_gc.py [--count COUNT] [--s3 COUNT] [--database sqlite|postgres]

The large count runs on a streaming double of the store interface, which makes up the listing as it goes (no
machine of a developer has a million objects), and on a real database of a million rows, PostgreSQL if there is
one. Every tenth payload is an orphan. The smaller count runs on a real S3, SeaweedFS on loopback.

Claims: peak memory of a million stays under 250 MiB and under 1.5 times that of a tenth; the orphans are found to
the last one.
"""

from __future__ import annotations

import argparse
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


def child(url: str, folder: str, count: int) -> None:
    """In a process of its own: gc, then its time and peak memory."""
    policy = AccessPolicy.load(f"{folder}/policy.yaml")
    listing = Listing(policy.compartments[0].store_uri, count)
    database = Database(url)
    begun = time.monotonic()
    report = collect(
        policy,
        database,
        Path(folder) / "state.sqlite",
        delete=True,
        stores=lambda _: listing,  # type: ignore[arg-type,return-value]  # gc lists and deletes, nothing else
    )
    taken = time.monotonic() - begun
    processor, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    assert (report.payloads, report.deleted, listing.deleted) == (count, count // ORPHAN_EVERY, report.orphans)
    assert report.missing == 0
    print(f"{taken} {processor} {peak} {report.rows}")


def double(kind: str, url_of: Any, count: int) -> None:
    """The streaming double against a real database."""
    peaks = []
    for number in (count // 10, count):
        with tempfile.TemporaryDirectory(prefix="secure-xcom-bench-") as folder:
            url = url_of(folder)
            upkeep = Upkeep(Path(folder) / "one", url=url)
            fill(upkeep.table, template(upkeep), upkeep.store_uri, number)
            upkeep.close()
            done = subprocess.run(
                [sys.executable, __file__, "--child", url, f"{folder}/one", str(number)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            ).stdout.split()
            taken, processor, peak, rows = float(done[0]), float(done[1]), int(done[2]), int(done[3])
            peaks.append(peak)
            print(
                f"{kind}: {number} payloads (streaming double), {rows} rows: {taken:.1f} s, "
                f"{number / taken:.0f} payloads/s, processor time {processor:.1f} s, peak memory {peak} MiB",
                flush=True,
            )
    print(f"{kind}: peak memory of ten times as many: {peaks[1] / peaks[0]:.2f} x")
    assert peaks[1] < 250, peaks
    assert peaks[1] < 1.5 * peaks[0], peaks


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
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child[0], chosen.child[1], int(chosen.child[2]))
        return
    if chosen.database == "sqlite":
        double("SQLite", lambda folder: f"sqlite:///{folder}/airflow.db", chosen.count)
    else:
        with postgres_server() as server:
            double("PostgreSQL", lambda _: server.new_database(), chosen.count)
    real(chosen.s3)


if __name__ == "__main__":
    main()

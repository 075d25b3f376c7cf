"""What `migrate` (seal-existing) and then `rewrap` of a hundred thousand rows cost: time and peak memory.

    python -m benchmarks.bench_jobs [--rows 100000]

Rows of 1 KB of plaintext in PostgreSQL are sealed with a local keyring and a folder as the store, the keyring
gets a new version, and every wrap comes to it. Each job runs in a process of its own, with the file sink. A tenth
of the rows comes first, to show how the cost grows.
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
from pathlib import Path

import sqlalchemy

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline
from secure_xcom.keys import key_service
from secure_xcom.ops.jobs.migrate_rows import seal_existing
from secure_xcom.ops.jobs.opener import Opener
from secure_xcom.ops.jobs.rewrap import rewrap
from secure_xcom.ops.jobs.rewrap_plan import Plan
from secure_xcom.ops.jobs.stock_objects import NoObjects
from secure_xcom.ops.keyring import rotate_keyring
from secure_xcom.ops.xcom_table import Database
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import store
from tests.support.servers.postgres_server import postgres_server
from tests.support.upkeep_world import Upkeep


def one(url: str, folder: Path, job: str) -> None:
    """Run one job in this process and print what it took."""
    policy, database = AccessPolicy.load(str(folder / "policy.yaml")), Database(url)
    log = AccessLog.open([(folder / "access-log.jsonl").as_uri()], version="benchmark", policy=policy.digest)
    state = folder / f"{job}.state"
    begun, processor = time.perf_counter(), time.process_time()
    if job == "rewrap":
        rewrapped = rewrap(policy, database, log, state, Plan(), apply=True, operator="benchmark")
        done, failed = rewrapped.rewrapped, rewrapped.failed
    else:
        codecs = Codecs(lambda value: value, lambda structure: structure)
        names = SensitiveNames({"password"})
        pipeline = Pipeline(Settings(), policy, log, names, codecs, register=lambda _: None)
        opener = Opener(lambda value: value, services=key_service, stores=store, max_bytes=1 << 30)
        report = seal_existing(
            policy, database, pipeline, opener, state, NoObjects(), apply=True, operator="benchmark"
        )
        done, failed = report.converted, report.failed
    taken = {"seconds": time.perf_counter() - begun, "processor": time.process_time() - processor}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({"done": done, "failed": failed, "peak": peak, **taken}))


def fill(upkeep: Upkeep, rows: int) -> None:
    """Rows of plaintext, as Airflow's own backend writes them."""
    statement = """INSERT INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, key, timestamp, value)
        SELECT n / 100, 'orders', 'run-' || n / 100, 'extract', n % 100, 'return_value', now(),
          jsonb_build_object('user', 'user-' || n, 'text', repeat(md5(n::text), 30))
        FROM generate_series(0, CAST(:last AS bigint)) n"""
    with upkeep.table.engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement), {"last": rows - 1})
    upkeep.table.execute("ANALYZE xcom")


def main() -> None:
    """Measure both jobs at both sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return one(options.one[0], Path(options.one[1]), options.one[2])
    with postgres_server() as server:
        for rows in (options.rows // 10, options.rows):
            with tempfile.TemporaryDirectory(prefix="secure-xcom-bench-") as name:
                folder, url = Path(name) / "one", server.new_database()
                upkeep = Upkeep(folder, url=url)
                fill(upkeep, rows)
                for job in ("seal-existing", "rewrap"):
                    if job == "rewrap":
                        rotate_keyring(upkeep.keyring)
                    words = [sys.executable, "-m", "benchmarks.bench_jobs", "--one", url, str(folder), job]
                    taken = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
                    assert (taken["done"], taken["failed"]) == (rows, 0), taken
                    print(
                        f"{job}: {rows:,} rows in {taken['seconds']:.1f} s, "
                        f"{rows / taken['seconds']:,.0f} rows/s, "
                        f"processor time {taken['processor']:.1f} s, peak {taken['peak']} MiB, "
                        f"load {os.getloadavg()[0]:.0f}",
                        flush=True,
                    )
                upkeep.close()
    return None


if __name__ == "__main__":
    main()

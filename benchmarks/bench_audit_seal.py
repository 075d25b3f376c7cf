"""Sealing and verifying: events per second and peak memory, against only hashing every line.

    python -m benchmarks.bench_audit_seal [--events 200000]

It runs a tenth of the events first, to show how the cost grows. Ten million need 16 GB of disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from benchmarks.bench_audit_search import make
from secure_xcom.ops.audit_trail.anchor import anchor
from secure_xcom.ops.audit_trail.read import raw_lines, source
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
from secure_xcom.ops.audit_trail.tlog.note import Verifier
from secure_xcom.ops.audit_trail.tlog.signer_file import FileSigner
from secure_xcom.ops.audit_trail.verify import verify
from secure_xcom.stores import store
from tests.support.access_logs import START

STEPS = ("hash", "seal", "seal again", "verify")


def one(folder: Path, step: str) -> None:
    """Run one step in this process and print what it took."""
    signer = FileSigner((folder / "key.pem").as_uri())
    log = AnchoredLog(store((folder / "log").as_uri()), [Verifier("bench", signer.public_key())])
    sources = [source((folder / "access-log.jsonl").as_uri())]
    started, begun = time.perf_counter(), time.process_time()
    if step == "hash":
        done = sum(1 for line in raw_lines(sources) if hashlib.sha256(line.data).digest())
    elif step == "verify":
        result = verify(sources, log)
        assert result.found == [], result.found[:3]
        done = result.sealed
    else:
        done = anchor(log, sources, signer, now=lambda: START + timedelta(days=365)).entries
    seconds = time.perf_counter() - started
    processor = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"done": done, "seconds": seconds, "processor": processor, "peak": peak}))


def measure(folder: Path, count: int) -> None:
    """Make so many events, and run each step on them in a process of its own."""
    (folder / "log").mkdir(parents=True)
    FileSigner((folder / "key.pem").as_uri()).create()
    events = folder / "access-log.jsonl"
    make(events, count)
    base = 0.0
    for step in STEPS:
        words = [sys.executable, "-m", "benchmarks.bench_audit_seal", "--one", str(folder), step]
        taken = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        base = base or taken["seconds"]
        print(
            f"{step}: {taken['done']:,} of {count:,} in {taken['seconds']:.1f} s, "
            f"{count / taken['seconds']:,.0f} events/s, {taken['seconds'] / base:.1f} times hashing, "
            f"processor time {taken['processor']:.1f} s, peak {taken['peak']:.0f} MiB",
            flush=True,
        )
    size = sum(path.stat().st_size for path in (folder / "log").rglob("*") if path.is_file())
    print(f"anchored log: {size / events.stat().st_size:.2f} of the access log's size")


def main() -> None:
    """Make the events, run each step, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "STEP"))
    options = parser.parse_args()
    if options.one:
        return one(Path(options.one[0]), options.one[1])
    with tempfile.TemporaryDirectory(prefix="secure-xcom-bench-") as name:
        for count in (options.events // 10, options.events):
            measure(Path(name) / str(count), count)
    return None


if __name__ == "__main__":
    main()

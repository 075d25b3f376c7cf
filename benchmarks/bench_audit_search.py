"""Searching the access log with and without an index: time, events per second and peak memory.

    python -m benchmarks.bench_audit_search [--events 1000000] [--files 1] [--peer]

The events lie in so many rotated files (copies of one). Each search runs in a process of its own, whose peak
memory is what the kernel says at its end. The peer reads every line with `json`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from secure_xcom.core.event_chain import Chain
from secure_xcom.ops.audit_trail.read import raw_lines, source
from secure_xcom.ops.audit_trail.search.index import Index
from secure_xcom.ops.audit_trail.search.query import Matcher, Query
from secure_xcom.ops.audit_trail.search.scan import Scan
from tests.support.access_logs import START, event, uuid7_at

PER_CHAIN = 10
QUERIES = {
    "one XCom": Query(dag="dag_7", run="r3", task="t", key="return_value"),
    "one DAG of 500": Query(dag="dag_7", action="pull"),
    "what was refused (1 of 10,000)": Query(outcome="refused"),
    "nobody": Query(dag="nobody"),
    "a compartment and an hour": Query(
        compartment="finance", since="2026-11-22T12:00:00.000000Z", until="2026-11-22T13"
    ),
}


def make(path: Path, count: int) -> None:
    """Events of chains of ten: one push, eight pulls, an end."""
    with path.open("wb") as file:
        for number in range(count // PER_CHAIN):
            moment = START + timedelta(seconds=number / 2)
            chain = Chain(uuid7_at(moment, number))
            producer = {
                "dag_id": f"dag_{number % 500}",
                "run_id": f"r{number // 500}",
                "task_id": "t",
                "map_index": -1,
            }
            for at in range(PER_CHAIN):
                last = at == PER_CHAIN - 1
                action = "push" if at == 0 else "chain_end" if last else "pull"
                outcome = "refused" if number % 1000 == 0 and at == 4 else "ok"
                more = {} if last else {"producer": {**producer, "key": "return_value"}}
                file.write(
                    chain.add(event(moment + timedelta(seconds=at / 10), action, outcome, **more)).data + b"\n"
                )


def one(path: Path, name: str, way: str) -> None:
    """Run one search, or make the index, in this process and print what it took."""
    sink = source(path.as_uri())
    # What a process needs anyway is loaded before the clock starts.
    list(Scan([], Query()).hits())
    started, begun = time.perf_counter(), time.process_time()
    index = Index(path.with_name("index.sqlite")) if way in ("index", "indexed") else None
    if way == "index":
        assert index is not None
        found = sum(index.update(sink.uri, piece) for piece in sink.pieces())
    elif way == "json":
        matcher = Matcher(QUERIES[name])
        found = sum(matcher.matches(json.loads(line.data)) for line in raw_lines([sink]))
    else:
        found = sum(1 for _ in Scan([sink], QUERIES[name], index=index).hits())
    seconds, processor = time.perf_counter() - started, time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"found": found, "seconds": seconds, "processor": processor, "peak": peak}))


def measured(path: Path, name: str, way: str) -> dict[str, float]:
    """Run `one` in a process of its own and return what it printed."""
    words = [sys.executable, "-m", "benchmarks.bench_audit_search", "--one", str(path), name, way]
    taken: dict[str, float] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    print(
        f"{name}, {way}: {taken['found']:,.0f} in {taken['seconds']:.2f} s, "
        f"processor time {taken['processor']:.2f} s, "
        f"peak {taken['peak']:.0f} MiB, load {os.getloadavg()[0]:.0f}",
        flush=True,
    )
    return taken


def main() -> None:
    """Make the events, run each search in each way, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=1)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--one", nargs=3, metavar=("PATH", "QUERY", "WAY"))
    options = parser.parse_args()
    if options.one:
        return one(Path(options.one[0]), options.one[1], options.one[2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "access-log.jsonl"
        make(path, options.events // options.files)
        for number in range(1, options.files):
            shutil.copyfile(path, f"{path}.{number}")
        size = path.stat().st_size * options.files
        print(f"{options.events:,} events, {size / 1e9:.1f} GB, {options.files} files, {os.cpu_count()} cores")
        ways = ("whole", "json") if options.peer else ("whole",)
        found = {name: [measured(path, name, way)["found"] for way in ways] for name in QUERIES}
        measured(path, "all of it", "index")
        print(f"index: {path.with_name('index.sqlite').stat().st_size / size:.2%} of the log's size")
        for name, counts in found.items():
            assert {*counts, measured(path, name, "indexed")["found"]} == {counts[0]}
    return None


if __name__ == "__main__":
    main()

"""Searching the access log: seconds, events per second and peak memory, against reading every line with `json`.

    python -m benchmarks.bench_audit_search [--events 1000000] [--files 1]

The events lie in so many rotated files (the same one, linked), so that ten million need the disk of one million.
Each search runs in a process of its own, whose peak memory is what the kernel says at its end.
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
from datetime import timedelta
from pathlib import Path

from secure_xcom.core.event_chain import Chain
from secure_xcom.ops.audit_trail.read import raw_lines, source
from secure_xcom.ops.audit_trail.search.query import Matcher, Query
from secure_xcom.ops.audit_trail.search.scan import Scan
from tests.support.access_logs import START, event, uuid7_at

PER_CHAIN = 10
QUERIES = {
    "one XCom": Query(dag="dag_7", run="r7", task="t", key="return_value"),
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
                "run_id": f"r{number % 50}",
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
    """Run one search in this process and print what it took."""
    query, sources = QUERIES[name], [source(path.as_uri())]
    # What a process needs anyway is loaded before the clock starts.
    list(Scan([], query).hits())

    started = time.perf_counter()
    if way == "ours":
        found = sum(1 for _ in Scan(sources, query).hits())
    else:
        matcher = Matcher(query)
        found = sum(matcher.matches(json.loads(line.data)) for line in raw_lines(sources))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"found": found, "seconds": seconds, "peak": peak}))


def main() -> None:
    """Make the events, run each search in both ways, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=1)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--one", nargs=3, metavar=("PATH", "QUERY", "WAY"))
    options = parser.parse_args()
    if options.one:
        return one(Path(options.one[0]), options.one[1], options.one[2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "access-log.jsonl"
        make(path, options.events // options.files)
        for number in range(1, options.files):
            os.link(path, f"{path}.{number}")
        size = path.stat().st_size * options.files / 1e9
        print(f"{options.events:,} events, {size:.1f} GB, {options.files} files, {os.cpu_count()} cores")
        for name in QUERIES:
            taken = {}
            for way in ("ours",) if options.no_peer else ("ours", "json"):
                words = [sys.executable, "-m", "benchmarks.bench_audit_search", "--one", str(path), name, way]
                taken[way] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            ours = taken["ours"]
            rate = options.events / ours["seconds"]
            took = f"{ours['seconds']:.1f} s ({rate:,.0f} events/s), peak {ours['peak']:.0f} MiB"
            times = (
                f", {taken['json']['seconds'] / ours['seconds']:.1f} times as fast as json"
                if "json" in taken
                else ""
            )
            print(f"{name}: {ours['found']:,} found in {took}{times}")
    return None


if __name__ == "__main__":
    main()

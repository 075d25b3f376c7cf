"""A thousand events a second from fifty processes into each kind of sink, without a line lost or out of order.

    python -m benchmarks.bench_sinks [--seconds 30] [--processes 50] [--rate 1000] [--only NAME]

Each process has a chain of its own, as tasks have, and records calls at its share of the rate: a call has one
event or, as a pull of ten XComs has, ten of them. A process that is late does not skip anything. Then the sinks
are read back and each chain is verified: every event is there once, in its place. `late` is how long after its
turn the last call of the slowest process was over; up to a second the sink kept up. A tenth of the time comes
first, to show how cost grows.

The bucket (SeaweedFS on loopback) gets an object for each call (`batch=call`), or one for each chain
(`batch=task`, which only an optional sink may do, so a file is the required sink beside it).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import sqlalchemy

from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.event import Event
from secure_xcom.ops.audit_trail.read import source
from secure_xcom.ops.audit_trail.verify import Verified, verify
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.sinks.database import DDL
from tests.support.servers.postgres_server import postgres_server
from tests.support.servers.s3_server import REGION, s3_server

PATIENCE = 1.0


def work(uris: list[str], number: int, calls: int, every: float, begin: float, events: int, results: str) -> None:
    """Record calls in a process of its own, the first at ``begin``, and note how long each took."""
    log = AccessLog.open(uris, version="benchmark", policy="0" * 64)
    taken, turn = [], begin
    for call in range(calls):
        turn = begin + call * every
        time.sleep(max(0.0, turn - time.time()))
        asked = time.time()
        at = [Coordinate("orders", f"run-{number}", "load", index, "value") for index in range(events)]
        log.record([Event("pull", "ok", coordinate=where, compartment="pay") for where in at])
        taken.append(time.time() - asked)
    late = time.time() - turn
    log.close()
    Path(results, f"{number}.json").write_text(json.dumps({"taken": taken, "late": late}))


def checked(uri: str) -> Verified:
    """Verify what is in a sink."""
    return verify([source(uri)], None)


def measure(
    name: str, uris: list[str], read: str, options: argparse.Namespace, seconds: float, events: int
) -> bool:
    """Let all processes record, and print what became of it; whether nothing is missing and nobody was late."""
    processes = options.processes
    every = processes * events / options.rate
    calls = max(1, round(seconds / every))
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as results:
        begin = time.time() + 2
        started = [
            context.Process(
                target=work, args=(uris, number, calls, every, begin + every * number / processes, events, results)
            )
            for number in range(processes)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
        took = time.time() - begin
        assert all(process.exitcode == 0 for process in started)
        answers = [json.loads(path.read_text()) for path in Path(results).iterdir()]
    taken = sorted(second for answer in answers for second in answer["taken"])
    late = max(answer["late"] for answer in answers)
    # A process that has used a bucket cannot be forked for the next measurement.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
        verified = other.submit(checked, read).result()
    expected = processes * (calls * events + 1)
    whole = (verified.found, verified.events, verified.chains) == ([], expected, processes)
    print(
        f"{name}, calls of {events}: {processes} processes, {processes * calls * events:,} events in "
        f"{took:.1f} s, {processes * calls * events / took:,.0f}/s; a call {taken[len(taken) // 2] * 1e3:.1f} ms, "
        f"99 % {taken[int(len(taken) * 0.99)] * 1e3:.0f} ms; late {late:.1f} s; "
        f"{'each line is there, in order' if whole else f'BROKEN: {verified.events} of {expected}'}; "
        f"load {os.getloadavg()[0]:.0f}",
        flush=True,
    )
    if not whole:
        print(*verified.found[:5], sep="\n")
    return whole and late <= PATIENCE


@contextmanager
def database() -> Iterator[str]:
    """A sink in PostgreSQL."""
    with postgres_server() as server:
        url = server.new_database()
        engine = sqlalchemy.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(DDL))
        engine.dispose()
        yield f"db+{url}"


@contextmanager
def bucket() -> Iterator[str]:
    """A sink in a bucket."""
    with s3_server() as server:
        login = {"login": server.root.access_key, "password": server.root.secret_key}
        extra = {"endpoint_url": server.endpoint, "region_name": REGION}
        os.environ["AIRFLOW_CONN_BENCH_S3"] = json.dumps({"conn_type": "aws", **login, "extra": extra})
        yield f"s3://bench_s3@{server.make_bucket()}/log"


def main() -> int:
    """Measure each sink; 1 where a line is missing or a sink did not keep up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--only", choices=("file", "postgres", "bucket", "bucket-by-task"))
    options = parser.parse_args()
    good = True
    for name in ("file", "postgres", "bucket", "bucket-by-task"):
        if options.only not in (None, name):
            continue
        for seconds in (options.seconds / 10, options.seconds):
            for events in (1, 10):
                with ExitStack() as stack:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="secure-xcom-bench-")))
                    file = (folder / "log.jsonl").as_uri()
                    if name == "file":
                        uris, read = [file], file
                    elif name == "postgres":
                        read = stack.enter_context(database())
                        uris = [read]
                    else:
                        read = stack.enter_context(bucket())
                        by_task = name == "bucket-by-task"
                        uris = [file, f"{read}?optional=true&batch=task"] if by_task else [read]
                    good &= measure(name, uris, read, options, seconds, events)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

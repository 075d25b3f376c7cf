"""How many tasks a distributed Airflow does in a minute with our backend, against the same with Airflow's own.

    python benchmarks/bench_distributed.py [--count 1000] [--rounds 1]

The deployment is that of tests/e2e/test_distributed.py: CeleryExecutor on PostgreSQL and Redis, two workers of two
processes each, all on this machine. Ours has Vault and an S3 server on loopback beside it; the peer keeps XComs in
PostgreSQL, unsealed. Each task instance pulls the list that it is mapped over and pushes a dict of 900 bytes.
Processor time is that of all of it, servers included; unlike the throughput it holds on a machine with other work.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.report import machine  # found through the line above
from tests.e2e.deployment import OURS, STOCK
from tests.e2e.distributed import TEAMS, distributed, new_seed

SPAN = """
SELECT count(*), extract(epoch FROM max(end_date) - min(start_date)),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM end_date - start_date))
FROM task_instance WHERE task_id = 'each' AND run_id = 'many' AND state = 'success'
"""


@dataclass(frozen=True)
class Measured:
    """One backend's figures.

    :ivar rate: task instances in a minute. :ivar seconds: of one, from its start to its end, at the median.
    :ivar processor: seconds of processor time for one.
    """

    rate: float
    seconds: float
    processor: float


def measured(backend: str, count: int) -> Measured:
    """Run the deployment once."""
    with (
        tempfile.TemporaryDirectory(prefix="secure-xcom-bench-") as folder,
        distributed(Path(folder), new_seed(), backend=backend, count=count, direct=True) as site,
    ):
        dags = tuple(f"{team}_many" for team in TEAMS)
        # What is loaded and compiled once is not measured: each process has run the first DAG by then.
        site.trigger(*(f"{team}_ways" for team in TEAMS), run_id="warm")
        site.wait(*(f"{team}_ways" for team in TEAMS), run_id="warm")
        port = site.database.url.port or 0
        before = processor_seconds(port)
        site.trigger(*dags, run_id="many")
        states = site.wait(*dags, run_id="many", timeout=7200)
        if set(states.values()) != {"success"}:
            raise SystemExit(f"the runs ended with {states}")
        done, seconds, each = site.rows(SPAN)[0]
        if done != count // 2 * 2:
            raise SystemExit(f"{done} of {count} task instances succeeded")
        used = processor_seconds(port) - before
        return Measured(60 * done / float(seconds), float(each), used / done)


def processor_seconds(postgres_port: int) -> float:
    """What this process, all that it started and the PostgreSQL of a port have used until now."""
    total = 0.0
    for process in _family(postgres_port):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        # Children that have ended are counted with who waited for them.
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _family(postgres_port: int) -> Iterator[psutil.Process]:
    roots = [psutil.Process()]
    # PostgreSQL's first process is nobody's child.
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "postgres" and str(postgres_port) in (process.info["cmdline"] or ()):
            roots.append(process)
    for root in roots:
        yield from (root, *root.children(recursive=True))


def main() -> None:
    """Both in turns, and the ratio of each round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    ratios = []
    print(machine())
    for _ in range(options.rounds):
        found = {backend: measured(backend, options.count) for backend in (STOCK, OURS)}
        for backend, one in found.items():
            print(
                f"{backend:12} {one.rate:7.1f} task instances a minute; for one {one.seconds:.2f} s from start to "
                f"end, {one.processor:.2f} s of processor time"
            )
        ours, stock = found[OURS], found[STOCK]
        ratios.append(ours.rate / stock.rate)
        print(
            f"ours does {ratios[-1]:.2f} of the stock backend's task instances a minute, with "
            f"{ours.processor / stock.processor:.2f} of its processor time for one",
            flush=True,
        )
    if len(ratios) > 1:
        print(f"median of {len(ratios)} rounds: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()

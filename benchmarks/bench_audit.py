"""What the access log costs: the same push and pull of 10 KB with it and without it, and requests per task.

    python benchmarks/bench_audit.py [--pushes COUNT]

Claims: the file sink adds at most 10 % to a push of 10 KB, the first of a task's try or a later one, to a folder
or to a bucket (SeaweedFS on loopback); the object sink makes one request for a task that pushes its return
value, two for one that pulls before that, and one for any task with batch=task. What fsync=true adds is shown,
and is the disk's. Every figure is a ratio of two measurements of the same run, taken in turns. The key is in a
local keyring, which is the fastest key service that there is, so the log's share is the largest that it can be.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate, TaskTry
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.ops.keyring import create_keyring
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.sinks.interface import Sink, sink
from secure_xcom.sinks.objects import ObjectSink
from secure_xcom.sinks.sink_uri import SinkUri
from tests.support.doubles import MemoryStore
from tests.support.servers.s3_server import REGION, s3_server

MOST = 0.10
VALUE = {"rows": [os.urandom(20).hex() for _ in range(240)]}


def process(folder: Path, store_uri: str, sinks: Sequence[Sink]) -> Pipeline:
    """The pipeline of a new task process."""
    return Pipeline(
        Settings(),
        AccessPolicy.single([f"local://{folder}/keyring.json"], store_uri),
        AccessLog(sinks, version="benchmark", policy="0" * 64),
        SensitiveNames({"password"}),
        Codecs(lambda value: value, lambda structure: structure),
        register=lambda _secrets: None,
    )


def in_turns(count: int, with_log: Callable[[], object], without: Callable[[], object]) -> tuple[float, float]:
    """The median seconds of each, measured one by one in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(count):
        # Who is first changes, so that none always meets the caches that the other has filled.
        order = ((with_log, times[0]), (without, times[1]))
        for work, taken in order if number % 2 else order[::-1]:
            begun = time.perf_counter()
            work()
            taken.append(time.perf_counter() - begun)
    return statistics.median(times[0]), statistics.median(times[1])


def a_push(
    folder: Path, store_uri: str, what: str, count: int, *, fsync: bool = False, later: bool = False
) -> float:
    """Print what the file sink adds to a push, and give it as a share of the push.

    :param later: a push of a try that has its data key already, instead of the first one.
    """
    uri = f"{(folder / 'log.jsonl').as_uri()}{'?fsync=true' if fsync else ''}"
    logged, silent = process(folder, store_uri, [sink(uri)]), process(folder, store_uri, [])

    def pushing(pipeline: Pipeline) -> Callable[[], object]:
        def work() -> object:
            run = "run" if later else str(uuid.uuid4())
            at = Coordinate("orders", run, "extract", -1, "return_value")
            producer = TaskTry(at.dag_id, at.run_id, at.task_id, -1, 1)
            return pipeline.push([Push(at, VALUE)], producer=producer)

        return work

    in_turns(10, pushing(logged), pushing(silent))
    with_log, without = in_turns(count, pushing(logged), pushing(silent))
    added = with_log / without - 1
    print(
        f"{'a later' if later else 'the first'} push of {len(json.dumps(VALUE)):,} bytes to {what}: "
        f"{without * 1e6:.0f} us without the log, {with_log * 1e6:.0f} us with it: {added:+.1%}"
    )
    return added


def requests() -> bool:
    """Print how many objects the object sink makes for a task, by what the task does."""
    fine = True
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above)
        create_keyring(str(folder / "keyring.json"))
        store_uri = f"memory://{uuid.uuid4().hex}"
        one = TaskTry("orders", "run", "sum", -1, 1)
        at = [Coordinate("orders", "run", "extract", index, "return_value") for index in range(100)]
        upstream = [Row(row) for row in process(folder, store_uri, []).push([Push(where, VALUE) for where in at])]
        own = Push(Coordinate("orders", "run", "sum", -1, "return_value"), VALUE)
        tasks: dict[str, tuple[Callable[[Pipeline], object], int]] = {
            "pushes its return value": (lambda task: task.push([own], producer=one), 1),
            "pulls 100 values and returns one": (
                lambda task: (task.pull(upstream, consumer=one), task.push([own], producer=one)),
                2,
            ),
            "pulls 100 values only": (lambda task: task.pull(upstream, consumer=one), 2),
        }
        for options, most in (("", None), ("?optional=true&batch=task", 1)):
            for name, (work, expected) in tasks.items():
                bucket = MemoryStore()
                task = process(folder, store_uri, [ObjectSink(SinkUri.parse(f"memory://log{options}"), bucket)])
                work(task)
                task.access_log.close()
                made = bucket.requests.total()
                fine &= made == (most or expected)
                print(f"a task that {name}, object sink{options or ' (required)'}: {made} request(s)")
    return fine


def buckets(folder: Path, count: int) -> Iterator[float]:
    """What the file sink adds to a push to a bucket."""
    with s3_server() as server:
        login = {"login": server.root.access_key, "password": server.root.secret_key}
        extra = {"endpoint_url": server.endpoint, "region_name": REGION}
        os.environ["AIRFLOW_CONN_BENCH_S3"] = json.dumps({"conn_type": "aws", **login, "extra": extra})
        place = f"s3://bench_s3@{server.make_bucket()}"
        yield a_push(folder, place, "a bucket", count)
        yield a_push(folder, place, "a bucket", count, later=True)
        a_push(folder, place, "a bucket (fsync=true)", count, fsync=True)


def main() -> int:
    """Measure and print; 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pushes", type=int, default=300)
    count = parser.parse_args().pushes
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above)
        create_keyring(str(folder / "keyring.json"))
        (folder / "sealed").mkdir()
        place = (folder / "sealed").as_uri()
        shares = [a_push(folder, place, "a folder", count), a_push(folder, place, "a folder", count, later=True)]
        shares += buckets(folder, count)
    held = requests() and max(shares) <= MOST
    print(f"claims {'hold' if held else 'DO NOT HOLD'}: at most {max(shares):+.1%} of a push, {MOST:+.0%} allowed")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

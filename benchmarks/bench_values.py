"""What values as tasks push them cost against Airflow's own XComObjectStorageBackend, by kind and size.

    python benchmarks/bench_values.py [--only KIND] [--places files,S3] [--sizes 1000,10000] [--rounds N] [--write]

Both backends push and pull the same values (`benchmarks.values`) in turns, in two processes. On files the ratio is
one of processor time, which other work on the machine hardly changes; on S3, where a push waits, one of wall time.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bench_backend import KB, MB, STOCK, Bench, Process, servers
from benchmarks.report import write_values
from benchmarks.values import KINDS

SIZES = (KB, 10 * KB, 100 * KB, 5 * MB)
# How often in a row, so that one measurement takes some milliseconds.
COUNTS = {KB: 40, 10 * KB: 20, 100 * KB: 8}


class Figure(NamedTuple):
    """The medians of one kind, size and place, as ratios to the peer: of processor time, and of wall time."""

    place: str
    kind: str
    size: int
    way: str
    cpu: float
    wall: float
    milliseconds: float

    @property
    def ratio(self) -> float:
        """Return the ratio that counts."""
        return self.cpu if self.place == "files" else self.wall

    @property
    def target(self) -> float:
        """Return what the ratio is to be at most."""
        if self.way == "pull":
            return 0.4 if self.place == "files" else 0.3
        if self.size >= 5 * MB:
            return 1.3
        return 1.0 if self.place == "files" else 0.3


def measure(bench: Bench, kinds: list[str], sizes: list[int], rounds: int) -> Iterator[Figure]:
    """Yield each figure as it is measured."""
    with bench.sides() as sides:
        for kind in kinds:
            for size in sizes:
                yield from _measured(bench.name, sides, kind, size, rounds)


def _measured(place: str, sides: tuple[Process, Process], kind: str, size: int, rounds: int) -> Iterator[Figure]:
    count = COUNTS.get(size, 1)
    for side in sides:
        side.do("make", kind=kind, size=size)
        side.do("push", count=count)
        side.do("pull")
    times: dict[str, list[tuple[float, float, float]]] = {"push": [], "pull": []}
    for _ in range(rounds):
        for way, found in times.items():
            options = {"count": count} if way == "push" else {}
            ours, theirs = (side.do(way, **options) for side in sides)
            found.append(
                (ours["cpu"] / theirs["cpu"], ours["seconds"] / theirs["seconds"], 1000 * ours["cpu"] / count)
            )
    for way, found in times.items():
        yield Figure(place, kind, size, way, *(statistics.median(column) for column in zip(*found, strict=True)))


def shown(figure: Figure) -> str:
    """Return a line."""
    missed = "" if figure.ratio <= figure.target else f"  over {figure.target}"
    return (
        f"{figure.place:6} {figure.kind:17} {figure.size:>9,} {figure.way}: {figure.ratio:5.2f}  "
        f"(processor {figure.cpu:.2f}, wall {figure.wall:.2f}, {figure.milliseconds:.2f} ms of processor){missed}"
    )


def main() -> None:
    """Measure, show, and say how many targets were reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of a kind's name")
    parser.add_argument("--places", default="files,S3")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="write the tables of performance-by-value.md")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="secure_xcom_bench_"))
    figures: list[Figure] = []
    kinds = [kind for kind in KINDS if chosen.only.lower() in kind.lower()]
    sizes = [int(size) for size in chosen.sizes.split(",")]
    try:
        with servers(folder, vault=False) as places:
            for place in chosen.places.split(","):
                for figure in measure(places[place], kinds, sizes, chosen.rounds):
                    figures.append(figure)
                    print(shown(figure), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if chosen.write:
        write_values(figures)
    reached = sum(figure.ratio <= figure.target for figure in figures)
    print(f"{reached} of {len(figures)} targets against {STOCK} reached")


if __name__ == "__main__":
    main()

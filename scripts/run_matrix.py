#!/usr/bin/env python3
"""Runs the core's tests in clean environments: Python 3.10, 3.12 and 3.13, each on oldest and newest Airflow.

    scripts/run_matrix.py [--only NAME ...] [--keep] [-- PYTEST_ARGUMENT ...]

Each environment is made anew below ``.venv-matrix`` from the hashed requirements. One line for each at the end,
and exit code 1 where a test failed, an environment could not be made, or an interpreter is not to be had.

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
PYTHONS = ("3.10", "3.12", "3.13")
# Requirements file -> what it is for.
AIRFLOWS = {"airflow31": "oldest", "dev": "newest"}
TESTS = ("tests/unit", "tests/vectors")
_WHAT = (
    "import platform; from importlib.metadata import version; "
    "print(platform.python_version(), version('apache-airflow-core'))"
)


@dataclass
class Row:
    """What became of one environment; times in seconds."""

    name: str
    python: str = ""
    airflow: str = ""
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
            *(self.name, self.python or "-", self.airflow or "-"),
            *map(str, counts),
            *(f"{self.made:.0f}", f"{self.took:.0f}", known),
        )


HEADS = ("environment", "Python", "Airflow", "passed", "failed", "skipped", "made in s", "tests in s", "")


def main() -> int:
    """Run what is asked for; gives the exit code."""
    names = [f"py{python}-{airflow}" for airflow in AIRFLOWS for python in PYTHONS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=names, help="an environment; may be given again")
    parser.add_argument("--keep", action="store_true", help="leave the environments there")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest")
    given = parser.parse_args()
    rows = []
    for name in given.only or names:
        python, airflow = name.removeprefix("py").split("-")
        rows.append(run(name, python, airflow, given.pytest))
        if not given.keep:
            shutil.rmtree(FOLDER / name, ignore_errors=True)
    print("\n".join(table(rows)))
    return 0 if all(row.fine for row in rows) else 1


def run(name: str, python: str, requirements: str, arguments: Sequence[str]) -> Row:
    """Make one environment anew and run the tests in it."""
    row, venv = Row(name), FOLDER / name
    interpreter = find(python)
    if interpreter is None:
        row.trouble = f"no Python {python} here"
        return row
    shutil.rmtree(venv, ignore_errors=True)
    venv.parent.mkdir(exist_ok=True)
    begun = time.monotonic()
    print(f"--- {name}: {interpreter}", flush=True)
    made = subprocess.run(
        [str(ROOT / "scripts/setup-venv"), str(venv), requirements],
        env={**os.environ, "PYTHON": interpreter},
        check=False,
    )
    row.made = time.monotonic() - begun
    if made.returncode:
        row.trouble = "could not be made"
        return row
    what = subprocess.run([str(venv / "bin/python"), "-c", _WHAT], capture_output=True, text=True, check=True)
    row.python, row.airflow = what.stdout.split()
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
    return row


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

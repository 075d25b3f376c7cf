#!/usr/bin/env python3
"""Run the tests in clean environments: one for each Airflow release, the oldest and newest on each Python.

    scripts/run_matrix.py [--only NAME ...] [--next] [--tests unit|e2e|all] [--keep] [-- PYTEST_ARGUMENT ...]

Each environment is made anew below ``.venv-matrix`` from the hashed requirements of a release in
``secure_xcom/ops/checks/tested_releases.py``; with ``--next``, from the newest Airflow that the package index has,
pre-releases included. ``unit`` are the tests that need no server; ``e2e`` are whole Airflows: the demo,
maintenance, exclusive XComs, mapped tasks and the leak hunt. One line for each environment at the end, and exit
code 1 where a test failed, an environment could not be made, or an interpreter is not to be had.

An interpreter is looked for in the environment's ``PYTHON_3_10`` and so on, on PATH, among pyenv's, and with uv,
which downloads one where it may.
"""

# ruff: noqa: S603, T201  # It starts programs, and prints.

from __future__ import annotations

import argparse
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from secure_xcom.ops.checks.tested_releases import TESTED  # noqa: E402  # the list of this checkout

FOLDER = ROOT / ".venv-matrix"
PYTHONS = ("3.10", "3.12", "3.13", "3.14")
ONE_PYTHON = "3.12"
"""The Python of the releases between the oldest and the newest."""
EXTRAS = ("vault", "aws", "dataframe", "dev")
NEXT = "next"
TESTS = {
    "unit": ("tests/unit", "tests/vectors"),
    "e2e": tuple(
        f"tests/e2e/test_{name}.py"
        for name in ("demo", "maintenance_dag", "exclusive", "mapped", "leaks", "masks", "airflow34")
    ),
}
TESTS["all"] = TESTS["unit"] + TESTS["e2e"]
_WHAT = (
    "import platform; from importlib.metadata import version; "
    "print(platform.python_version(), version('apache-airflow-core'), version('cryptography'))"
)


@dataclass
class Row:
    """The result of one environment; times in seconds."""

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
        """Return whether something passed and nothing failed."""
        return not self.trouble and not self.failed and self.passed > 0

    def cells(self) -> tuple[str, ...]:
        """Return the cells of its line in the table."""
        counts = (self.passed, self.failed, self.skipped)
        known = self.trouble or ("passed" if self.fine else "FAILED")
        return (
            *(self.name, self.python or "-", self.airflow or "-", self.cryptography or "-"),
            *map(str, counts),
            *(f"{self.made:.0f}", f"{self.took:.0f}", known),
        )


HEADS = (
    *("environment", "Python", "Airflow", "cryptography"),
    *("passed", "failed", "skipped", "made in s", "tests in s", ""),
)


def environments() -> dict[str, tuple[str, str]]:
    """Return each environment's Python and requirements by its name."""
    newest = [tested for tested in TESTED if tested.requirements == "dev"]
    on_all = {TESTED[0].requirements, newest[0].requirements}
    return {
        f"py{python}-{tested.requirements}": (python, tested.requirements)
        for tested in TESTED
        for python in (PYTHONS if tested.requirements in on_all else (ONE_PYTHON,))
        if int(python[2:]) <= int(tested.newest_python[2:])
    }


def main() -> int:
    """Run what is asked for; return the exit code."""
    known = environments()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=list(known), help="an environment; may be given again")
    parser.add_argument("--next", action="store_true", help="the newest Airflow on the index, and nothing else")
    parser.add_argument("--tests", choices=list(TESTS), default="unit", help="which tests; unit by default")
    parser.add_argument("--keep", action="store_true", help="leave the environments there")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest")
    given = parser.parse_args()
    names = [NEXT] if given.next else given.only or list(known)
    rows = []
    for name in names:
        python, requirements = known.get(name, (ONE_PYTHON, NEXT))
        rows.append(run(name, python, requirements, [*TESTS[given.tests], *given.pytest]))
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
    made = make_next(venv, interpreter) if requirements == NEXT else make(venv, interpreter, requirements)
    row.made = time.monotonic() - begun
    if not made:
        row.trouble = "could not be made"
        return row
    what = subprocess.run([str(venv / "bin/python"), "-c", _WHAT], capture_output=True, text=True, check=True)
    row.python, row.airflow, row.cryptography = what.stdout.split()
    report = venv / "report.xml"
    begun = time.monotonic()
    done = subprocess.run(
        [str(venv / "bin/pytest"), "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments],
        cwd=ROOT,
        check=False,
    )
    row.took = time.monotonic() - begun
    if report.exists():
        count(row, report)
    if done.returncode and not row.failed:
        row.trouble = f"pytest ended with {done.returncode}"
    return row


def make(venv: Path, interpreter: str, requirements: str) -> bool:
    """Make an environment from pinned requirements; return whether that succeeded."""
    done = subprocess.run(
        [str(ROOT / "scripts/setup-venv"), str(venv), requirements],
        env={**os.environ, "PYTHON": interpreter},
        check=False,
    )
    return not done.returncode


def make_next(venv: Path, interpreter: str) -> bool:
    """Make an environment of the newest tested release, then take the newest Airflow of the index into it."""
    newest = TESTED[-1]
    if not make(venv, interpreter, newest.requirements):
        return False
    uv = str(venv / "bin/uv")
    with tempfile.NamedTemporaryFile("w+", suffix=".txt") as pins:
        wanted = [
            *("--python", str(venv / "bin/python"), "--prerelease", "if-necessary-or-explicit"),
            *("--overrides", str(ROOT / "requirements/left-out.txt")),
        ]
        extras = [word for extra in EXTRAS for word in ("--extra", extra)]
        constraint = subprocess.run(
            [
                uv,
                "pip",
                "compile",
                "--quiet",
                *wanted,
                *extras,
                "--output-file",
                pins.name,
                "pyproject.toml",
                "--constraint",
                "-",
            ],
            input=f"apache-airflow>={newest.airflow}",
            text=True,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if constraint.returncode:
            return False
        install = [
            uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            str(venv / "bin/python"),
            "--requirement",
            pins.name,
        ]
        return not subprocess.run(install, cwd=ROOT, check=False).returncode


def count(row: Row, report: Path) -> None:
    """Add the numbers of a report."""
    for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        row.failed += failed
        row.skipped += skipped
        row.passed += tests - skipped - failed


def find(python: str) -> str | None:
    """Return an interpreter of this version that runs and can make environments."""
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
    """Yield where one may be, the costliest last."""
    if named := os.environ.get(f"PYTHON_{python.replace('.', '_')}"):
        yield named
    yield from filter(None, [shutil.which(f"python{python}")])
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    # Unlike Path.glob, this passes over a folder that this user may not read.
    own = glob.glob(f"{python}.*/bin/python{python}", root_dir=pyenv)
    yield from (str(pyenv / found) for found in sorted(own, reverse=True))
    uv = ROOT / ".venv/bin/uv"
    if uv.exists():
        for words in (("find",), ("install",), ("find",)):
            found = subprocess.run(
                [str(uv), "python", *words, python], capture_output=True, text=True, check=False
            )
            if words == ("find",) and not found.returncode:
                yield found.stdout.strip()


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the rows as a Markdown table, ready for docs/evidence/pythons-and-airflows.md."""
    yield f"| {' | '.join(HEADS)} |"
    yield f"|{'---|' * len(HEADS)}"
    for row in rows:
        yield f"| {' | '.join(row.cells())} |"


if __name__ == "__main__":
    sys.exit(main())

"""The matrix of Pythons and Airflows: what its script makes of a report, and of a Python that is not there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
REPORT = """<?xml version="1.0"?><testsuites>
<testsuite name="pytest" tests="10" failures="{failed}" errors="1" skipped="2" time="3.0"></testsuite>
</testsuites>"""


@pytest.fixture
def matrix(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module; it is no part of the package."""
    spec = importlib.util.spec_from_file_location("run_matrix", ROOT / "scripts" / "run_matrix.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "run_matrix", module)
    spec.loader.exec_module(module)
    return module


def test_failures_and_errors_are_counted(matrix: Any, tmp_path: Path) -> None:
    """What neither failed nor was skipped has passed, and one failure or error makes the row fail."""
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(failed=3))
    row = matrix.Row("py3.10-dev", "3.10.1", "3.3.2")
    matrix.count(row, report)
    assert (row.passed, row.failed, row.skipped, row.fine) == (4, 4, 2, False)
    assert row.cells()[-1] == "FAILED"
    assert not matrix.Row("nothing ran").fine
    assert matrix.Row("all", passed=3, skipped=1).fine


def test_an_interpreter_that_is_not_there_fails_the_run(matrix: Any) -> None:
    """A Python that cannot be had is a row that says so and does not pass, never one that is left out."""
    row = matrix.run("py3.99-dev", "3.99", "dev", ())
    assert not row.fine
    assert list(matrix.table([row]))[-1] == "| py3.99-dev | - | - | - | 0 | 0 | 0 | 0 | 0 | no Python 3.99 here |"


def test_the_matrix_is_of_what_is_supported(matrix: Any) -> None:
    """It has the oldest and newest Python of the metadata, existing requirements, and the lowest cryptography."""
    text = (ROOT / "pyproject.toml").read_text()
    named = set(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text))
    newest = matrix.HASHED["dev"]
    assert {newest[0], newest[-1]} == {min(named, key=_minor), max(named, key=_minor)}
    assert set(newest) < named
    assert all((ROOT / "requirements" / f"{name}.txt").exists() for name in matrix.HASHED)
    [lowest] = re.findall(r'"cryptography>=([\d.]+)"', text)
    tried = {(pinned.airflow, pinned.cryptography) for pinned in matrix.PINNED.values()}
    assert {airflow for airflow, _ in tried} == {"3.1.8", "3.2.2", "3.3.0"}
    assert {lowest, "46.0.5", "48.0.1"} <= {cryptography for _, cryptography in tried}


def test_a_pinned_environment_has_the_airflow_and_its_times_libraries(matrix: Any, tmp_path: Path) -> None:
    """Its Airflow and its cryptography are exact, and all other libraries are of that Airflow's time."""
    pinned = matrix.Pinned("3.12", "3.2.2", "46.0.7", "2026-06-05")
    make, install = matrix.commands(tmp_path / "venv", "/usr/bin/python3.12", pinned)
    assert make[-1] == str(tmp_path / "venv")
    assert {"apache-airflow==3.2.2", "cryptography==46.0.7"} <= set(install)
    assert install[install.index("--exclude-newer") + 1] == "2026-06-05"
    [setup] = matrix.commands(tmp_path / "venv", "/usr/bin/python3.12", "dev")
    assert setup[1:] == [str(tmp_path / "venv"), "dev"]


def _minor(python: str) -> int:
    return int(python.partition(".")[2])

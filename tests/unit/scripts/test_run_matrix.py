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
    """The oldest and newest Python of the package's metadata, one between, and requirements that are there."""
    text = (ROOT / "pyproject.toml").read_text()
    named = sorted(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text), key=lambda one: int(one[2:]))
    assert (named[0], named[-1]) == (matrix.PYTHONS[0], matrix.PYTHONS[-1])
    assert set(matrix.PYTHONS) < set(named)


def test_each_tested_release_has_an_environment(matrix: Any) -> None:
    """Each release is run on one Python at least, on one that it supports; the oldest and newest on all."""
    environments = matrix.environments().values()
    for tested in matrix.TESTED:
        pythons = [python for python, requirements in environments if requirements == tested.requirements]
        assert pythons
        assert min(int(python[2:]) for python in pythons) >= int(tested.python[2:])
        assert max(int(python[2:]) for python in pythons) <= int(tested.newest_python[2:])
    for python in matrix.PYTHONS:
        assert (python, "dev") in environments
        assert ((python, "airflow31") in environments) == (python != "3.14")


def test_the_tests_of_the_tiers_exist(matrix: Any) -> None:
    """A renamed file must not drop out of a tier."""
    assert [path for paths in matrix.TESTS.values() for path in paths if not (ROOT / path).exists()] == []


def test_the_lowest_cryptography_and_those_of_airflows_constraints_are_run() -> None:
    """The oldest environment has the lowest that is allowed, and each in between what its constraints pin."""
    [lowest] = re.findall(r'"cryptography>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    pins = {
        name: re.findall(r"^cryptography==(\S+)", (ROOT / f"requirements/{name}.txt").read_text(), re.M)
        for name in ("airflow31", "airflow318", "airflow322", "airflow330")
    }
    assert pins["airflow31"] == [lowest] == ["44.0.3"]
    assert [pins[name][0].partition(".")[0] for name in ("airflow318", "airflow322", "airflow330")] == [
        "46",
        "46",
        "48",
    ]

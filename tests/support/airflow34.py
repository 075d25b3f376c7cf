"""The interpreter of an Airflow 3.4 for tests that run beside an older one."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def installed_series() -> tuple[int, ...]:
    """Return the major and minor number of the Airflow that runs these tests."""
    return tuple(map(int, version("apache-airflow-core").split(".")[:2]))


def python_of_airflow34() -> str:
    """Return the interpreter that has Airflow 3.4, or skip the test.

    This one where it has; else the one that SECURE_XCOM_TEST_AIRFLOW34_PYTHON names; else that of
    `.venv-airflow34`, which `make test` makes where there is a Python for it.
    """
    given = os.environ.get("SECURE_XCOM_TEST_AIRFLOW34_PYTHON")
    if given:
        return given
    if installed_series() >= (3, 4):
        return sys.executable
    beside = REPOSITORY / ".venv-airflow34" / "bin" / "python"
    if not beside.exists():
        pytest.skip("no Airflow 3.4: scripts/setup-venv .venv-airflow34 airflow34")
    return str(beside)

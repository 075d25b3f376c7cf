"""Airflow inside the test's own process, with a home of its own."""

from __future__ import annotations

import os
import sys
import tempfile

import pytest


@pytest.fixture(scope="session")
def airflow_here() -> None:
    """Airflow is imported, without reading or writing the caller's own."""
    if "airflow" in sys.modules:
        return
    for name in [name for name in os.environ if name.startswith("AIRFLOW__")]:
        del os.environ[name]
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="secure-xcom-airflow-")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    import airflow  # noqa: F401  # importing it is what sets it up

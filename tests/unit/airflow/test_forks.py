"""A process that forks: what a child of a task's process can still do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from airflow.sdk.bases.xcom import BaseXCom

from tests.unit.airflow.test_lazy_sequence import run, set_up

# `secure-xcom init` compares the clock with the time of a file that it writes.
pytestmark = pytest.mark.file_times


@pytest.mark.skipif(not hasattr(BaseXCom, "aget_one"), reason="this Airflow has no async pulls")
def test_a_forked_child_pulls_without_blocking(tmp_path: Path) -> None:
    """A child of a process that has pulled with `aget_one` does so too, and waits for no thread of its parent."""
    lines = run([sys.executable, "-m", "tests.support.forked_process"], set_up(tmp_path)).splitlines()
    # From Python 3.12 on a process with threads is warned when it forks.
    said = [line for line in lines if "DeprecationWarning" not in line]
    assert said[-3:] == ['{"n": 1}', '{"n": 1}', "0"]

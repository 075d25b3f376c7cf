"""Pushes that nobody waits for any more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.airflow.test_lazy_sequence import run, set_up

# `secure-xcom init` compares the clock with the time of a file that it writes.
pytestmark = pytest.mark.file_times


def test_a_push_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    """What a cancelled `axcom_push` puts after its end is deleted, because no row will name it; others stay."""
    command = [sys.executable, "-m", "tests.support.cancelled_process", str(tmp_path)]
    said = run(command, set_up(tmp_path)).splitlines()
    assert said[-3:] == ["cancelled", '["push", "push", "purge"]', "1"]

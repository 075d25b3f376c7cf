"""Lazy sequences of mapped XComs: read ahead in slices, and each value still held against its own coordinate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.airflow import lazy_sequence
from secure_xcom.airflow.lazy_sequence import Peek

# `secure-xcom init` compares the clock with the time of a file that it writes.
pytestmark = pytest.mark.file_times

ROOT = Path(__file__).parents[3]


def set_up(folder: Path) -> dict[str, str]:
    """The environment of a task's process over a keyring and a folder."""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__SECURE_XCOM__KEY_URIS": f"local://{folder}/keyring.json",
        "AIRFLOW__SECURE_XCOM__STORE_URI": f"file://{folder}/store",
        "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": "",
    }
    place = ["--key", f"local://{folder}/keyring.json", "--store", f"file://{folder}/store"]
    run([str(Path(sys.executable).with_name("secure-xcom")), "init", *place], environment)
    return environment


def read(folder: Path, rows: int, broken: int = -1, fill: int = 0) -> dict[str, Any]:
    """What a task's process gets of a sequence of so many rows."""
    environment = set_up(folder)
    script = [sys.executable, "-m", "tests.support.lazy_process", str(folder), str(rows), str(broken), str(fill)]
    return dict(json.loads(run(script, environment).splitlines()[-1]))


def run(command: list[str], environment: dict[str, str]) -> str:
    """What a command says, if it succeeds."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_reader_is_read_ahead_for(tmp_path: Path) -> None:
    """300 values come in order with a question to Airflow for up to 64 of them, and who reads again reads anew.

    A slice is what it is of a list, also where Airflow's API server gives rows for one that is empty.
    """
    found = read(tmp_path, 300)
    assert found["crossed"] == 0
    assert found["values"] == list(range(300))
    assert found["error"] is None
    # 1, 2, 4, ... 64 at a time, one look at all places, and the ends; without reading ahead there were over 300.
    assert found["asked"] <= 16
    assert found["again"] == [0, 5, 0]


def test_what_was_read_ahead_for_one_task_is_not_given_to_another(tmp_path: Path) -> None:
    """In a process of several tasks, the second one pulls for itself what the first one has at hand already."""
    asked = read(tmp_path, 6)["asked_by_two"]
    assert asked == ["GetXComSequenceItem", "GetXComSequenceSlice", "GetXComSequenceItem"]


def test_what_compresses_well_is_not_all_held_at_once(tmp_path: Path) -> None:
    """Values that unfold to far more than their payloads are read ahead by what they unfold to."""
    found = read(tmp_path, 64, fill=4 << 20)
    assert found["values"] == list(range(64))
    # 16 MiB of JSON text, and as much of what it is decoded to; unbounded it was over 120.
    assert found["grown"] < 80


def test_large_values_cost_one_question_each(tmp_path: Path) -> None:
    """Where two values are too much to be read at once, each is asked for once, and the end of the sequence."""
    found = read(tmp_path, 6, fill=9 << 20)
    assert found["values"] == list(range(6))
    # With one look at all places, which the first value needs.
    assert found["asked"] <= 6 + 3


@pytest.mark.parametrize("broken", [0, 1, 40])
def test_what_cannot_be_opened_ends_the_loop_at_its_place(tmp_path: Path, broken: int) -> None:
    """A payload that was changed is refused when its turn comes; all values before it were given."""
    found = read(tmp_path, 70, broken)
    assert found["values"] == list(range(broken))
    assert found["error"] == "PayloadTampered"


def test_how_much_is_read_ahead() -> None:
    """Neither what is exclusive nor more than 16 MiB of payloads is pulled before it is asked for."""
    small = Peek(0, 100)
    assert lazy_sequence.at_once([small] * 64) == 64
    assert lazy_sequence.at_once([small, small, Peek(2, 100, exclusive=True), small]) == 2
    assert lazy_sequence.at_once([Peek(0, 10 << 20)] * 3) == 1
    assert lazy_sequence.at_once([Peek(0, 20 << 20)] * 3) == 0
    assert lazy_sequence.at_once([small] * 64, unfolds=40_000) == 4

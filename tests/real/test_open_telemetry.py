"""Airflow's own exporters send what is measured, to a receiver of OpenTelemetry's protocol on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from secure_xcom.core.pipeline.telemetry.measuring import COUNTERS, DATA_KEYS, KEY_CALLS, OPERATIONS, TIMERS, XCOMS
from secure_xcom.ops.keyring import create_keyring
from tests.support.servers.otlp_receiver import Receiver

PROGRAM = Path(__file__).with_name("observed_task.py")
# Pulls in threads and on an event loop, beside one plain pull and one that is refused.
THREADED, ASYNC = 40, 10


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on a free port."""
    with Receiver() as server:
        yield server


def run(folder: Path, receiver: Receiver, *, on: bool) -> None:
    """Run the program with Airflow's metrics and traces on or off."""
    keyring = folder / "keyring.json"
    create_keyring(str(keyring))
    (folder / "sealed").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "OTEL"))}
    environment = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__XCOM_BACKEND": "secure_xcom.SecureXComBackend",
        "AIRFLOW__METRICS__OTEL_ON": str(on),
        "AIRFLOW__TRACES__OTEL_ON": str(on),
        "AIRFLOW__SECURE_XCOM__KEY_URIS": f"local://{keyring}",
        "AIRFLOW__SECURE_XCOM__STORE_URI": f"file://{folder}/sealed",
        **receiver.environment,
    }
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(THREADED), str(ASYNC)],
        env={**kept, **environment, "PYTHONPATH": str(PROGRAM.parents[2])},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ContextRefused"


def test_airflow_sends_what_is_measured(tmp_path: Path, receiver: Receiver) -> None:
    """Every metric arrives, and what threads, async pulls and a forked child did is counted once; and there are
    spans below the span of the task, with nothing of the value.
    """
    run(tmp_path, receiver, on=True)
    ours = [one for one in receiver.metrics if ".secure_xcom." in one["name"]]
    assert {one["name"] for one in ours} == {f"airflow.{name}" for name in (*COUNTERS, *TIMERS)}
    for one in ours:
        if one["name"].removeprefix("airflow.") in COUNTERS:
            # As deltas, so that the numbers of many short processes can be added up.
            assert one["sum"]["isMonotonic"]
            assert one["sum"]["aggregationTemporality"] == "AGGREGATION_TEMPORALITY_DELTA"
            assert "unit" not in one
        else:
            assert one["unit"] == "ms"
            assert one["exponentialHistogram"]["dataPoints"]
    pulled = 1 + THREADED + ASYNC
    assert receiver.added_up(OPERATIONS, "action", "compartment", "outcome", "error") == {
        ("pull", "default", "ok", None): pulled,
        ("pull", "default", "refused", "ContextRefused"): 1,
        # One of them in the child.
        ("push", "default", "ok", None): 2,
    }
    assert receiver.added_up(XCOMS, "action", "compartment") == {
        ("pull", "default"): pulled,
        ("push", "default"): 2,
    }
    assert receiver.added_up(DATA_KEYS, "compartment", "source") == {("default", "cache"): pulled}
    assert receiver.added_up(KEY_CALLS, "service", "call", "outcome") == {("local", "wrap", "ok"): 2}
    assert receiver.tree() == {
        ("secure_xcom.key_service.wrap", "secure_xcom.push"): 1,
        ("secure_xcom.push", "worker.extract"): 1,
        ("secure_xcom.pull", "worker.extract"): pulled + 1,
    }
    assert b"correct-horse" not in receiver.raw
    assert [span["name"] for span in receiver.spans if "events" in span] == []


def test_nothing_is_sent_where_airflow_sends_nothing(tmp_path: Path, receiver: Receiver) -> None:
    """With Airflow's switches off, values pass and nothing arrives."""
    run(tmp_path, receiver, on=False)
    assert receiver.raw == b""

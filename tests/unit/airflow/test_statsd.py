"""Airflow's own StatsD client sends what is measured, on every Airflow that is supported."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from secure_xcom.ops.keyring import create_keyring

ROOT = Path(__file__).parents[3]

# As a task's process begins, from 3.2 on; before that nothing is to be begun.
PROGRAM = """
import os
from types import SimpleNamespace
try:
    from airflow.sdk.observability import stats
except ImportError:
    stats = None
if hasattr(stats, "initialize"):
    from airflow.sdk.observability.metrics import stats_utils
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
elif stats is not None:
    from airflow.observability.metrics import stats_utils
    stats.Stats.initialize(factory=stats_utils.get_stats_factory(stats.Stats))
from secure_xcom import SecureXComBackend

place = {"key": "return_value", "task_id": "t", "dag_id": "d", "run_id": "r", "map_index": -1}
sealed = SecureXComBackend.serialize_value({"password": "correct-horse"}, **place)
assert SecureXComBackend.deserialize_value(SimpleNamespace(value=sealed)) == {"password": "correct-horse"}
child = os.fork()
if child == 0:
    SecureXComBackend.serialize_value({"password": "correct-horse"}, **place)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def lines(folder: Path, *, labelled: bool) -> list[str]:
    """What a socket got from a process that pushes, pulls, forks and pushes again."""
    create_keyring(str(folder / "keyring.json"))
    (folder / "sealed").mkdir()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        environment = {
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__XCOM_BACKEND": "secure_xcom.SecureXComBackend",
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(listening.getsockname()[1]),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": str(labelled),
            "AIRFLOW__SECURE_XCOM__KEY_URIS": f"local://{folder}/keyring.json",
            "AIRFLOW__SECURE_XCOM__STORE_URI": f"file://{folder}/sealed",
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**kept, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        listening.setblocking(False)
        got = []
        while True:
            try:
                got.append(listening.recv(65536).decode())
            except BlockingIOError:
                return [line for line in got if ".secure_xcom." in line]


@pytest.mark.parametrize("labelled", [True, False])
def test_statsd_is_told_every_push_and_pull(tmp_path: Path, labelled: bool) -> None:
    """Each counts once, in a forked process as well, with its labels where names carry them; no value is told."""
    got = lines(tmp_path, labelled=labelled)
    counted = Counter(line.partition(":")[0] for line in got if ".operations" in line)
    name = "airflow.secure_xcom.operations"
    assert counted == (
        {
            f"{name},action=push,compartment=default,outcome=ok": 2,
            f"{name},action=pull,compartment=default,outcome=ok": 1,
        }
        if labelled
        else {name: 3}
    )
    assert len([line for line in got if re.search(r"\.operation_duration[^:]*:[0-9.]+\|ms$", line)]) == 3
    assert "correct-horse" not in "".join(got)

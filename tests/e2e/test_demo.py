"""The demo, as a user starts it: as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from tests.support.audit_reading import read_chains

# Under two minutes is the promise for an idle machine; a shared one is slower.
PATIENCE = 1800


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return subprocess.Popen(
        [Path(sys.executable).with_name("secure-xcom"), "demo", *arguments],
        # A setting of the caller's that would break the demo if it reached it.
        env={**environment, "TMPDIR": str(folder), "AIRFLOW__CORE__EXECUTOR": "NoSuchExecutor"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _left_behind(folder: Path) -> list[str]:
    """The processes whose Airflow lies below a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AIRFLOW_HOME", "").startswith(str(folder)):
                found.append(" ".join(process.cmdline()))
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One demo, run to its end and kept."""
    folder = tmp_path_factory.mktemp("demo")
    process = _start(folder, "--json", "--keep")
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return folder, subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def test_every_claim_of_the_demo_holds(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The demo ends with 0 and says of each claim that it held."""
    _, done = finished
    assert done.returncode == 0, done.stdout + done.stderr
    printed = json.loads(done.stdout)
    assert printed["held"] is True
    assert [claim for claim in printed["claims"] if not claim["held"]] == []
    errors = [attack["error"] for attack in printed["attacks"]]
    assert errors == ["", "CoordinateMismatch", "HeadTampered", "PayloadTampered"]


def test_every_task_closed_its_chain(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Airflow's task processes end their chains of events in order, those of failed tasks as well."""
    folder = Path(json.loads(finished[1].stdout)["folder"])
    chains = read_chains((folder / "audit/access-log.jsonl").read_bytes()).values()
    assert len(chains) > 10
    assert len({(events[0]["host"], events[0]["pid"]) for events in chains}) == len(chains)
    assert {events[-1]["action"] for events in chains} == {"chain_end"}
    assert "refused" in {event["outcome"] for events in chains for event in events}


def test_the_demo_leaves_no_process(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """When it is over, none of its components is left."""
    assert _left_behind(finished[0]) == []


def test_a_kept_demo_can_be_looked_at(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """With --keep the folder stays, for its user only, and `inspect` finds the tampered row in it."""
    _, done = finished
    folder = Path(json.loads(done.stdout)["folder"])
    assert folder.stat().st_mode & 0o077 == 0
    log = [json.loads(line) for line in (folder / "audit/access-log.jsonl").read_text().splitlines()]
    run_id = log[0]["producer"]["run_id"]
    looked = subprocess.run(
        [
            Path(sys.executable).with_name("secure-xcom"),
            *("inspect", f"secure_xcom_demo/{run_id}/read_balance[1]", "--json"),
            *("--db", f"sqlite:///{folder}/airflow/airflow.db"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert looked.returncode == 1
    assert json.loads(looked.stdout)["belongs_to_this_row"] is False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM end the components and remove the folder, keyring and all."""
    process = _start(tmp_path, "--plain")
    try:
        end = time.monotonic() + PATIENCE
        while not any("scheduler" in command for command in _left_behind(tmp_path)):
            assert process.poll() is None, "the demo ended by itself"
            assert time.monotonic() < end
            time.sleep(0.5)
        assert list(tmp_path.iterdir()) != []
        process.send_signal(number)
        process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == code
    assert _left_behind(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """The demo of the UI, as soon as it has said where to look."""
    process = _start(tmp_path, "--ui", "--json")
    assert process.stdout is not None
    try:
        yield process, json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
    finally:
        process.kill()
        process.communicate(timeout=300)


def test_the_ui_can_be_looked_at_until_ctrl_c(
    shown: tuple[subprocess.Popen[str], dict[str, str]], tmp_path: Path
) -> None:
    """What --ui prints leads to sealed XComs, after its login; Ctrl-C is how it ends, and nothing is left."""
    process, told = shown
    base = told["page"].removesuffix("/plugin/sealed-xcoms-browse")
    login = {"username": told["user"], "password": told["password"]}
    token = requests.post(f"{base}/auth/token", json=login, timeout=300).json()["access_token"]
    answer = requests.get(f"{base}/secure-xcom/xcoms", headers={"Authorization": f"Bearer {token}"}, timeout=300)
    states = {xcom["state"] for xcom in answer.json()["xcoms"]}
    assert {"sealed", "shredded", "plaintext"} <= states
    assert requests.get(told["tab"], timeout=300).status_code == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 0
    assert _left_behind(tmp_path) == []
    assert list(tmp_path.iterdir()) == []

"""Namespaces in which a cluster is started: however they end, nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.kubernetes.within import CGROUPS, FOLDER, WHY_NOT

STARTS = "from tests.support.kubernetes.within import run; raise SystemExit(run({command!r}, lambda folder: None))"
REPOSITORY = Path(__file__).parents[2]
# A process that its parent does not wait for, a bridge of its own, and a cgroup below the one that was made.
LIVES = """
set -e
cgroup=/sys/fs/cgroup/memory/$(cat $SECURE_XCOM_TEST_KUBERNETES_FOLDER/cgroup)/pod
mkdir $cgroup
sleep 600 & echo $! > $cgroup/cgroup.procs
setsid sleep 601 &
ip link add left0 type bridge
mount -t tmpfs tmpfs $SECURE_XCOM_TEST_KUBERNETES_FOLDER/run
touch $SECURE_XCOM_TEST_KUBERNETES_FOLDER/lives
"""
END_SECONDS = 60


@pytest.fixture(autouse=True)
def _possible() -> None:
    if os.environ.get(WHY_NOT) or FOLDER not in os.environ:
        pytest.skip(os.environ.get(WHY_NOT) or "run by `make test-kubernetes`")


def _start(script: str) -> subprocess.Popen[bytes]:
    code = STARTS.format(command=["sh", "-c", script])
    return subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)


def _folder_of(process: subprocess.Popen[bytes], known: set[Path]) -> Path:
    deadline = time.monotonic() + END_SECONDS
    while True:
        for folder in set(Path("/tmp").glob("sxk-*")) - known:
            if (folder / "lives").exists():
                return folder
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _left(folder: Path) -> list[str]:
    """Whatever of it is still there."""
    left = [str(path) for path in CGROUPS.glob(f"*/*{folder.name}*")]
    left += [str(folder)] if folder.exists() else []
    for process in psutil.process_iter():
        try:
            if process.environ().get(FOLDER) == str(folder):
                left.append(str(process))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    left += [line for line in Path("/proc/self/mounts").read_text().splitlines() if folder.name in line]
    left += ["left0"] if Path("/sys/class/net/left0").exists() else []
    return left


def _descendants(process: subprocess.Popen[bytes], name: str) -> list[psutil.Process]:
    return [one for one in psutil.Process(process.pid).children(recursive=True) if name in " ".join(one.cmdline())]


def _kill_outer(process: subprocess.Popen[bytes]) -> None:
    process.kill()


def _end_outer(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)


def _kill_first(process: subprocess.Popen[bytes]) -> None:
    next(iter(_descendants(process, "tests.support.kubernetes.first"))).kill()


def _kill_command(process: subprocess.Popen[bytes]) -> None:
    (command,) = [one for one in _descendants(process, "sleep") if one.cmdline() == ["sleep", "602"]]
    command.kill()


@pytest.mark.parametrize("end", [_kill_outer, _end_outer, _kill_first, _kill_command])
def test_nothing_is_left(end: Callable[[subprocess.Popen[bytes]], None]) -> None:
    """No process, mount, bridge, cgroup or folder is left, whichever process is killed."""
    known = set(Path("/tmp").glob("sxk-*"))
    process = _start(f"{LIVES}\nexec sleep 602")
    folder = _folder_of(process, known)
    assert len(_left(folder)) > 5
    end(process)
    process.wait(END_SECONDS)
    deadline = time.monotonic() + END_SECONDS
    while left := _left(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_the_commands_exit_code_is_told() -> None:
    """A command that ends by itself takes everything with it, and its exit code is the launcher's."""
    known = set(Path("/tmp").glob("sxk-*"))
    process = _start(f"{LIVES}\nsleep 1\nexit 7")
    folder = _folder_of(process, known)
    assert process.wait(END_SECONDS) == 7
    assert _left(folder) == []

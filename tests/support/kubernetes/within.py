"""Run a command in namespaces of its own, in which a cluster can be started, and leave nothing behind.

    python -m tests.support.kubernetes.within COMMAND [ARGUMENT...]

Mounts, network, processes, host name and IPC are the command's own. Ports and firewall rules collide with
nobody's, and all of it ends with the first process of the namespaces: mounts, bridges, containers, servers. No
namespace holds the cgroups of pods and the folder for files. A janitor, which waits for the end of a pipe,
removes these, whoever of the others was killed.

- The command ends: `first` ends with its exit code.
- This process is killed: the kernel sends SIGKILL to `unshare`, and so to `first` (PR_SET_PDEATHSIG).
- The command is killed: `first`, its parent, ends.

Where no cluster can be started the command runs all the same, outside, and its tests say why they are skipped.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.kubernetes import programs
from tests.support.kubernetes.airflow_image import images

# What the command finds in its environment: the folder of the cluster, or why there is none.
FOLDER = "SECURE_XCOM_TEST_KUBERNETES_FOLDER"
WHY_NOT = "SECURE_XCOM_TEST_KUBERNETES_WHY_NOT"
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
DAGS = Path(__file__).parents[2] / "kubernetes" / "dags"
PREFIX = "secure-xcom-"
EMPTY_SECONDS = 30


def why_not() -> str | None:
    """Return why no cluster can be started on this machine, or None."""
    if os.environ.get("KUBECONFIG"):
        return "KUBECONFIG names a cluster, and this needs the node itself"
    if os.uname().sysname != "Linux" or os.geteuid() != 0:
        return "a cluster is started only by root on Linux; elsewhere name one in KUBECONFIG"
    if not (CGROUPS / "cpuset" / "cpuset.cpus").exists():
        return "a cluster is started only on cgroup v1 with all its controllers; elsewhere name one in KUBECONFIG"
    needed = [*programs.missing(), *(["util-linux"] if not shutil.which("unshare") else [])]
    if needed and os.environ.get("SECURE_XCOM_TEST_BUILD") == "true" and shutil.which("apt-get"):
        programs.install(needed)
        needed = programs.missing()
    if needed:
        return f"not installed: apt-get install {' '.join(needed)} (SECURE_XCOM_TEST_BUILD=true does it)"
    return None


def main(command: list[str]) -> int:
    """Run the command where a cluster can be started, or outside, where its tests say why not."""
    reason = why_not()
    if reason:
        return subprocess.run(command, env={**os.environ, WHY_NOT: reason}, check=False).returncode
    built = programs.build()
    remove_stale()

    def put_images(folder: Path) -> None:
        written = images(folder, built.pause, DAGS)
        described = {
            name: [str(image.file), image.name, image.digest, image.size] for name, image in written.items()
        }
        (folder / "images.json").write_text(json.dumps(described))

    return run(command, put_images)


def run(command: list[str], prepare: Callable[[Path], None]) -> int:
    """Run the command in namespaces of its own; return its exit code.

    :param prepare: puts what the command needs into the folder, while there still is a network.
    """
    # A socket's path is at most 107 bytes long, so pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="sxk-", dir="/tmp"))
    lock = (folder / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    cgroup = f"{PREFIX}{folder.name}"
    reading, writing = os.pipe()
    janitor = os.fork()
    if janitor == 0:
        os.close(writing)
        _clean_at_the_end(reading, folder, cgroup)
    os.close(reading)
    try:
        prepare(folder)
        (folder / "cgroup").write_text(cgroup)
        make_cgroups(cgroup)
        return _run(command, folder)
    finally:
        os.close(writing)
        os.waitpid(janitor, 0)


def _run(command: list[str], folder: Path) -> int:
    outer = [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"),
        *("--propagation", "private"),
    ]
    first = [sys.executable, "-m", "tests.support.kubernetes.first", *command]
    process = subprocess.Popen([*outer, *first], env={**os.environ, FOLDER: str(folder)}, close_fds=True)

    def end(number: int, frame: object) -> None:
        process.kill()

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    # Ctrl-C reaches the command too, which ends in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return process.wait()


def make_cgroups(name: str) -> None:
    """Make an empty cgroup below each controller."""
    for controller in CONTROLLERS:
        (CGROUPS / controller / name).mkdir()
    # All pods together count as one process of the machine otherwise, and starve beside other work.
    (CGROUPS / "cpu" / name / "cpu.shares").write_text("4096")
    for file in ("cpuset.cpus", "cpuset.mems"):
        # A new cpuset is empty until it is told.
        (CGROUPS / "cpuset" / name / file).write_text((CGROUPS / "cpuset" / file).read_text())


def remove_cgroups(name: str) -> list[Path]:
    """Remove what has no process left; return what is still there."""
    left = []
    for root in CGROUPS.glob(f"*/{name}"):
        for path in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
            _remove(path)
        if not _remove(root):
            left.append(root)
    return left


def _remove(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except OSError:
        # A process is still in it, or was a moment ago.
        return not cgroup.exists()
    return True


def remove_stale() -> None:
    """Remove the cgroups of a run whose every process was killed, its janitor included."""
    for name in {path.name for path in CGROUPS.glob(f"*/{PREFIX}sxk-*")}:
        folder = Path("/tmp", name.removeprefix(PREFIX))
        if not _in_use(folder):
            remove_cgroups(name)
            shutil.rmtree(folder, ignore_errors=True)


def _in_use(folder: Path) -> bool:
    """Whether a run, or its janitor, holds the lock of the folder."""
    try:
        with (folder / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _clean_at_the_end(pipe: int, folder: Path, cgroup: str) -> None:
    """Wait until every other holder of the pipe is gone, and remove what no namespace held. Never returns."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.read(pipe, 1)
    deadline = time.monotonic() + EMPTY_SECONDS
    while remove_cgroups(cgroup) and time.monotonic() < deadline:
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1 if remove_cgroups(cgroup) or folder.exists() else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

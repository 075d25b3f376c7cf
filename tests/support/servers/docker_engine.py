"""A Docker engine of the tests' own, on a machine where none runs but one can be started.

It needs Linux and root, and has its socket, images and containers in a temporary folder and a bridge of its own.
It changes no rule of the machine's firewall and is ended by its process id. `dockerd` is looked for on PATH and in
the cache; with ``SECURE_XCOM_TEST_BUILD=true`` Debian's packages are unpacked into the cache, and nothing is
installed.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.support.servers.vault_binary import cache_folder

# containerd and runc are its parts; the rest is what it is linked with, on a machine that has only the essentials.
PACKAGES = ("docker.io", "containerd", "runc", "libdevmapper1.02.1", "libseccomp2", "libsystemd0")
PROGRAMS = ("usr/sbin", "usr/bin")
LIBRARIES = "usr/lib/x86_64-linux-gnu"
START_SECONDS = 60
END_SECONDS = 60
# One of these for the bridge: the first that this machine has no way to yet.
NETWORKS = [ipaddress.IPv4Network(f"172.31.{third}.0/24") for third in range(200, 250)]


@contextmanager
def docker_engine() -> Iterator[str]:
    """The value of DOCKER_HOST for an engine that was started here. Skips where none can be."""
    if os.uname().sysname != "Linux" or os.geteuid() != 0:
        pytest.skip("a Docker engine is started only by root on Linux")
    environment = _environment()
    # The path of a socket is at most 107 characters long, which pytest's own folders may already be.
    folder = Path(tempfile.mkdtemp(prefix="sxt-", dir="/tmp"))
    bridge = f"sxt{secrets.token_hex(4)}"
    host = f"unix://{folder}/docker.sock"
    try:
        _make_bridge(bridge)
        with open(folder / "log", "wb") as log:
            process = _start(folder, bridge, host, environment, log)
            try:
                _wait(process, folder)
                yield host
            finally:
                _end(process)
    finally:
        subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)
        shutil.rmtree(folder)


def _environment() -> dict[str, str]:
    """The environment in which dockerd and its parts are found."""
    if shutil.which("dockerd"):
        return dict(os.environ)
    cached = cache_folder() / "docker"
    if not (cached / "complete").exists():
        if os.environ.get("SECURE_XCOM_TEST_BUILD") != "true" or not shutil.which("apt-get"):
            pytest.skip("no Docker engine answers, and there is no dockerd on PATH or in the cache to start one")
        with (cache_folder() / "docker.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (cached / "complete").exists():
                _unpack(cached)
    programs = ":".join(str(cached / one) for one in PROGRAMS)
    libraries = f"{cached / LIBRARIES}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":")
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "LD_LIBRARY_PATH": libraries}


def _unpack(target: Path) -> None:
    """Debian's packages of it, side by side in a folder. Skips where they cannot be had."""
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="sxt-packages-") as folder:
        done = _download(folder)
        if done.returncode:
            # A new machine has no list of packages yet.
            subprocess.run(["apt-get", "update"], capture_output=True, check=False)
            done = _download(folder)
        if done.returncode:
            pytest.skip(f"Debian's packages of Docker cannot be had: {done.stderr[-300:]}")
        for package in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(target)], check=True)
    (target / "complete").touch()


def _download(folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "download", *PACKAGES], cwd=folder, capture_output=True, text=True, check=False
    )


def _make_bridge(name: str) -> None:
    taken = subprocess.run(["ip", "-o", "-4", "address"], capture_output=True, text=True, check=False).stdout
    used = [ipaddress.ip_interface(line.split()[3]).network for line in taken.splitlines()]
    free = next((one for one in NETWORKS if not any(one.overlaps(other) for other in used)), None)
    if free is None:
        pytest.skip("no network is free for a bridge")
    for words in (
        ["link", "add", name, "type", "bridge"],
        ["address", "add", f"{free[1]}/{free.prefixlen}", "dev", name],
        ["link", "set", name, "up"],
    ):
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"this machine makes no bridge: {done.stderr.strip()}")


def _start(
    folder: Path, bridge: str, host: str, environment: dict[str, str], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    # Ports are published by its own proxy on loopback, which needs no rule of a firewall and no forwarding.
    command = [
        *("dockerd", "-H", host, "--ip", "127.0.0.1", "--bridge", bridge),
        *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"), "-p", str(folder / "pid")),
        *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
    ]
    return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)


def _wait(process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "API listen on" not in (text := (folder / "log").read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.skip(f"dockerd does not start on this machine: {text[-600:]}")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """It ends its containers and its containerd, if it is given the time."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""The programs of a cluster: built from Go modules into the cache, once, and Debian's own.

Kubernetes and CoreDNS come as Go modules, pinned in ``programs/*/go.mod``. etcd, containerd, runc, iptables and
the CNI plugins are Debian's packages. With ``SECURE_XCOM_TEST_BUILD=true`` what is missing is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers.go_program import go_program
from tests.support.servers.vault_binary import cache_folder

SOURCES = Path(__file__).parent / "programs"
VERSION = "1.34.3"
# Program -> the package that brings it.
DEBIAN = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
}
PLUGINS = Path("/usr/lib/cni")
PLUGINS_PACKAGE = "containernetworking-plugins"
# Those of Debian lie in folders that are not on every PATH.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_COMPONENT_BASE = "k8s.io/component-base/version"
_VERSION_FLAGS = " ".join(
    f"-X {_COMPONENT_BASE}.{name}={value}"
    for name, value in (("gitVersion", f"v{VERSION}"), ("gitMajor", "1"), ("gitMinor", "34"))
)


@dataclass(frozen=True)
class Programs:
    """Where the built programs lie. `kubernetes` takes a component's name as its first argument."""

    kubernetes: Path
    coredns: Path
    pause: Path


def missing() -> list[str]:
    """Return Debian's packages whose programs are not here."""
    packages = {package for program, package in DEBIAN.items() if not shutil.which(program, path=PATH)}
    return sorted(packages | (set() if (PLUGINS / "bridge").exists() else {PLUGINS_PACKAGE}))


def install(packages: list[str]) -> None:
    """Install Debian's packages.

    :raises RuntimeError: apt-get failed.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install_them = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    for command in (["apt-get", "update"], install_them):
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode and "install" in command:
            raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr[-2000:]}")


def build() -> Programs:
    """Return the programs, built now where they are not in the cache yet.

    The first build takes about 20 minutes of processor time, at the lowest priority and one package at a time.

    :raises RuntimeError: there is no Go.
    """
    return Programs(_program("kubernetes", _VERSION_FLAGS), _program("coredns"), _program("pause"))


def _program(name: str, flags: str = "") -> Path:
    return go_program(SOURCES / name, cache_folder() / "kubernetes", flags=flags)

"""The first process of the namespaces: prepares mounts and network, runs the command, and reaps what is orphaned.

When it ends, the kernel ends every process of the namespaces, and takes the mounts and the network away.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.kubernetes import node_files
from tests.support.kubernetes.within import FOLDER

# kubelet writes these for the whole machine, unless they are as it wants them.
SETTINGS_OF_THE_MACHINE = {
    "vm/overcommit_memory": "1",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def main(command: list[str]) -> int:
    """Prepare, run the command; return its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder = Path(os.environ[FOLDER])
    _mounts(folder)
    _network()
    process = subprocess.Popen(command, restore_signals=True, preexec_fn=_default_interrupt)  # noqa: PLW1509
    while True:
        pid, status = os.wait()
        if pid == process.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _mounts(folder: Path) -> None:
    # Mounts of secrets and volumes must reach containers.
    _do("mount", "--make-rshared", "/")
    _do("mount", "-t", "tmpfs", "tmpfs", "/run")
    for name in ("lock", "etcd", "settings"):
        Path("/run", name).mkdir()
    for target in ("/var/lib/cni", "/var/log/containers"):
        own = folder / "run" / target.strip("/").replace("/", "-")
        own.mkdir(parents=True)
        Path(target).mkdir(parents=True, exist_ok=True)
        _do("mount", "--bind", str(own), target)
    for name, value in SETTINGS_OF_THE_MACHINE.items():
        stand_in = Path("/run/settings", name.replace("/", "-"))
        stand_in.write_text(f"{value}\n")
        _do("mount", "--bind", str(stand_in), f"/proc/sys/{name}")
    resolv = Path("/run/resolv.conf")
    resolv.write_text(
        f"nameserver {node_files.ADDRESS}\nsearch svc.cluster.local cluster.local\noptions ndots:5\n"
    )
    _do("mount", "--bind", str(resolv), "/etc/resolv.conf")


def _network() -> None:
    _do("hostname", node_files.NODE)
    _do("ip", "link", "set", "lo", "up")
    # The address of the node is there before the CNI plugin makes it.
    _do("ip", "link", "add", node_files.BRIDGE, "type", "bridge")
    _do("ip", "address", "add", f"{node_files.ADDRESS}/24", "dev", node_files.BRIDGE)
    _do("ip", "link", "set", node_files.BRIDGE, "up")
    # kubelet takes the address of the default route. It leads nowhere.
    _do("ip", "route", "add", "default", "dev", node_files.BRIDGE)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")


def _do(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

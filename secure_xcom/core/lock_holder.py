"""Which process holds the lock on a file, for the error of whoever waited in vain (`secure_xcom.core.file_lock`).

``/proc/locks`` (proc_locks(5)) lists the locks of this machine, with the process id that the holder has in this
process's PID namespace.
"""

from __future__ import annotations

import os
from collections.abc import Iterable


def holder(descriptor: int) -> str:
    """Return who holds the lock on an open file, for people."""
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            pids = _pids(file, os.fstat(descriptor))
    except OSError:
        pids = []
    if not pids:
        return (
            "a process that is not visible from here: in another container, of another user or on another machine"
        )
    return " and ".join(map(_named, pids))


def _pids(lines: Iterable[str], status: os.stat_result) -> list[int]:
    """Return the processes that hold an flock on a file: ``1: FLOCK ADVISORY WRITE 4711 08:01:131 0 EOF``."""
    exact: list[int] = []
    alike: list[int] = []
    for line in lines:
        fields = line.split()
        # A process that waits for a lock has an arrow behind its number.
        if len(fields) < 6 or fields[1] != "FLOCK" or not fields[4].isdigit() or fields[4] == "0":
            continue
        major, _, rest = fields[5].partition(":")
        minor, _, inode = rest.partition(":")
        if inode != str(status.st_ino):
            continue
        alike.append(int(fields[4]))
        if (major, minor) == (f"{os.major(status.st_dev):02x}", f"{os.minor(status.st_dev):02x}"):
            exact.append(int(fields[4]))
    # Some file systems (btrfs, overlayfs) have another device here than in stat; the inode is the same.
    return list(dict.fromkeys(exact or alike))


def _named(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            # The command's name alone: its arguments may hold secrets.
            name = file.read(64).strip()
    except OSError:
        name = ""
    return f"process {pid} ({name!r})" if name else f"process {pid}"

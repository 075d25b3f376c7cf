"""Locks on files that several processes share (``flock``): taken with a bounded wait, and ended in one place.

Whoever may open a file, for reading even, can hold its lock for ever. So nobody waits for one without an end, and
who gives up says which process has it, as far as the kernel tells: ``/proc/locks`` (proc_locks(5)) lists the locks
of this machine, with the process id that the holder has in this process's PID namespace.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Iterable

WAIT_SECONDS = 30.0
"""How long a lock is waited for, unless its owner says otherwise: far over what any holder of ours needs."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.05


class NotLocked(Exception):
    """The wait is over, and another process still has the lock.

    :ivar holder: who has it, for people.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def acquire(descriptor: int, *, wait: float = WAIT_SECONDS) -> None:
    """Lock an open file for this process alone.

    :param wait: seconds; 0 asks once.
    :raises NotLocked: another process has it for as long; :raises OSError: the file cannot be locked.
    """
    began = time.monotonic()
    pause = _FIRST_PAUSE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            left = began + wait - time.monotonic()
            if left <= 0:
                raise NotLocked(holder(descriptor)) from None
        else:
            return
        # Not all at the same moments, so that none of many waiting processes is always the last.
        time.sleep(min(left, pause * (0.5 + random.random())))  # noqa: S311
        pause = min(pause * 2, _LONGEST_PAUSE)


def release(descriptor: int) -> None:
    """Unlock a file, if it is locked, and close it.

    Closing alone leaves the lock to a child that another thread has forked meanwhile.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def holder(descriptor: int) -> str:
    """Who holds the lock on an open file, for people."""
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            pids = _pids(file, os.fstat(descriptor))
    except OSError:
        pids = []
    if not pids:
        return "a process that this machine does not show: of another container, another user or another machine"
    return " and ".join(map(_named, pids))


def _pids(lines: Iterable[str], status: os.stat_result) -> list[int]:
    """The processes that hold an flock on a file: ``1: FLOCK ADVISORY WRITE 4711 08:01:131 0 EOF``."""
    exact: list[int] = []
    alike: list[int] = []
    for line in lines:
        fields = line.split()
        # What waits for a lock has an arrow behind its number, and holds nothing.
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

"""Locks on files that several processes share (``flock``): acquired with a bounded wait, released in one place.

Whoever may open a file, even for reading, can hold its lock for ever. So every wait ends, and its error names the
process that has the lock.
"""

from __future__ import annotations

import fcntl
import os
import random
import time

WAIT_SECONDS = 30.0
"""The default wait: far longer than any of our processes holds a lock."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.05


class NotLocked(Exception):
    """Another process still has the lock at the end of the wait.

    :ivar holder: that process, for people.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def acquire(descriptor: int, *, wait: float = WAIT_SECONDS) -> None:
    """Lock an open file for this process alone.

    :param wait: seconds; 0 tries once.
    :raises NotLocked: another process holds the lock; :raises OSError: the file cannot be locked.
    """
    began = time.monotonic()
    pause = _FIRST_PAUSE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            left = began + wait - time.monotonic()
            if left <= 0:
                from secure_xcom.core.lock_holder import holder

                raise NotLocked(holder(descriptor)) from None
        else:
            return
        # Random, so that none of many waiting processes is always the last.
        time.sleep(min(left, pause * (0.5 + random.random())))  # noqa: S311  # no secret depends on it
        pause = min(pause * 2, _LONGEST_PAUSE)


def release(descriptor: int) -> None:
    """Unlock a file, if it is locked, and close it.

    Closing alone leaves the lock to a child that another thread has forked meanwhile.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)

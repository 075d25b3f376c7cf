"""The end of a lock on a file that several processes share (``flock``)."""

from __future__ import annotations

import fcntl
import os


def release(descriptor: int) -> None:
    """Unlock a file, if it is locked, and close it.

    Closing alone leaves the lock to a child that another thread has forked meanwhile.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)

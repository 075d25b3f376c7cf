"""A folder of this process, and a file in it that is overwritten for each input, for parsers that read a path."""

from __future__ import annotations

import atexit
import os
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory


def temporary() -> TemporaryDirectory[str]:
    """Return a new folder: in ``TMPDIR``, or else in memory where the system has such a place.

    Thousands of inputs a second are written.
    """
    in_memory = Path("/dev/shm")
    here = in_memory if "TMPDIR" not in os.environ and in_memory.is_dir() else None
    return TemporaryDirectory(prefix="secure-xcom-fuzz-", dir=here, ignore_cleanup_errors=True)


@lru_cache
def folder() -> Path:
    """Return this process's folder, which is removed with it."""
    made = temporary()
    atexit.register(made.cleanup)
    return Path(made.name)


def file_of(data: bytes, name: str) -> Path:
    """Return a file with this content and name."""
    path = folder() / name
    path.write_bytes(data)
    return path

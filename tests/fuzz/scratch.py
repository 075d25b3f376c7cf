"""A folder of this process, and a file in it that is overwritten for each input, for parsers that read a path."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path


@lru_cache
def folder() -> Path:
    """Return this process's folder, which goes with it."""
    # In memory where the system has such a place: thousands of inputs a second are written.
    in_memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="secure-xcom-fuzz-", dir=in_memory if in_memory.is_dir() else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def file_of(data: bytes, name: str) -> Path:
    """Return a file with this content and name."""
    path = folder() / name
    path.write_bytes(data)
    return path

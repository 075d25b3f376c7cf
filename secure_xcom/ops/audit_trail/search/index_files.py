"""The stored file behind a piece of the access log, as the index recognizes it."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from secure_xcom.core import clock
from secure_xcom.core.file_lock import NotLocked, acquire
from secure_xcom.ops.audit_trail.pieces import Piece
from secure_xcom.ops.audit_trail.search.index_blocks import TAIL_BYTES

LOCK_WAIT_SECONDS = 5
_QUIET_SECONDS = 600


def is_compressed(piece: Piece) -> bool:
    """Return whether a file is compressed, and so is never written to again."""
    return piece.place.endswith((".gz", ".zst"))


def identity_of(status: os.stat_result) -> str:
    """Return the device and the inode of a file."""
    # Some file systems have inode numbers that SQLite's integers cannot hold.
    return f"{status.st_dev}:{status.st_ino}"


@contextmanager
def opened(piece: Piece) -> Iterator[int | None]:
    """Yield the stored file, not decompressed; None where its name is another file's now."""
    try:
        descriptor = os.open(piece.place, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        same = piece.status is not None and os.path.samestat(os.fstat(descriptor), piece.status)
        yield descriptor if same else None
    finally:
        os.close(descriptor)


def settled(descriptor: int) -> os.stat_result | None:
    """Return the status of a file at a moment when no batch is there in part; None where there was none.

    NFS locks no file for a reader. There, a file counts that nobody has written to for ten minutes.
    """
    try:
        acquire(descriptor, wait=LOCK_WAIT_SECONDS)
    except NotLocked:
        return None
    except OSError:
        status = os.fstat(descriptor)
        return status if clock.now().timestamp() - status.st_mtime > _QUIET_SECONDS else None
    try:
        return os.fstat(descriptor)
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def tail_of(descriptor: int, stop: int, length: int = TAIL_BYTES) -> int:
    """Return the checksum of the last bytes before an offset."""
    length = min(length, TAIL_BYTES, stop)
    return zlib.crc32(os.pread(descriptor, length, stop - length))

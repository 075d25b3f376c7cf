"""The file sink: JSON Lines, appended with one write per batch.

    file:///path/access-log.jsonl       one file, shared by the processes of a machine
    file:///path/                       the file HOSTNAME.jsonl in this folder, for a folder that hosts share

Options: ``fsync=true`` waits until the disk has each event; ``lock_wait=SECONDS`` limits the wait for another
process's lock, 1 to 600, by default 30; ``optional=true``. The file and a missing folder are created with modes
0640 and 0750: auditors read it through the group.

Anybody who can read the file can also keep it locked. After the wait nothing is pushed or pulled on this machine,
and the error names the process that holds the lock.

Rotate by renaming the file (logrotate's ``create`` or ``nocreate``, with ``delaycompress``), never with
``copytruncate``, which loses what is written between its two steps.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from secure_xcom.core.errors import AuditError, UriInvalid
from secure_xcom.core.event import Line
from secure_xcom.core.file_lock import WAIT_SECONDS, NotLocked, acquire, release
from secure_xcom.sinks.sink_uri import SinkUri

_LOCK_WAIT_MAX = 600


class FileSink:
    """Append each batch of events with one write, under a lock, and follow a rotated file.

    :raises UriInvalid: the URI does not name an absolute path, or has an unknown option.
    """

    costly = False

    def __init__(self, uri: SinkUri) -> None:
        self.uri = uri.place
        uri.only("fsync", "lock_wait")
        self._fsync = uri.switch("fsync")
        self._lock_wait = uri.number("lock_wait", int(WAIT_SECONDS), least=1, most=_LOCK_WAIT_MAX)
        path, is_folder = uri.file_path()
        self._path = path / f"{socket.gethostname()}.jsonl" if is_folder else path
        if uri.scheme != "file" or urlsplit(uri.place).netloc or not path.is_absolute() or path == Path("/"):
            raise UriInvalid("a file sink is file:///absolute/path", where=uri.where, remedy="write three slashes")

    def write(self, lines: Sequence[Line]) -> None:
        """Append the events.

        :raises AuditError: the file cannot be written, or another process keeps it locked. A batch that was
            written in part is removed again.
        """
        data = b"".join(line.data + b"\n" for line in lines)
        try:
            descriptor = self._open_locked()
            try:
                self._append(descriptor, data)
            finally:
                release(descriptor)
        except NotLocked as error:
            from secure_xcom.sinks.sink_faults import not_locked

            raise not_locked(error, self._lock_wait, self.uri) from None
        except OSError as error:
            raise AuditError(
                f"the access log cannot be written ({type(error).__name__}: {os.strerror(error.errno or 0)})",
                where=self.uri,
            ) from None

    def _append(self, descriptor: int, data: bytes) -> None:
        now = os.fstat(descriptor)
        before, regular = now.st_size, stat.S_ISREG(now.st_mode)
        if data and regular and before and os.pread(descriptor, 1, before - 1) != b"\n":
            # A process was killed, or the machine went down, within a line. It stays as it is, on its own line.
            data = b"\n" + data
        # A failed write has written nothing; a write that fills the disk returns a smaller number.
        written = os.write(descriptor, data)
        try:
            if written == len(data) and self._fsync:
                os.fsync(descriptor)
        except OSError:
            self._truncate(descriptor, before)
            raise
        if written != len(data):
            self._truncate(descriptor, before)
            raise AuditError(
                "an event was only partly written, and removed again: the disk is full", where=self.uri
            )

    def _truncate(self, descriptor: int, before: int) -> None:
        try:
            os.ftruncate(descriptor, before)
        except OSError as error:
            # An append-only file (chattr +a) keeps the part; the next event starts on a new line.
            raise AuditError(
                "an event was only partly written, and the part cannot be removed "
                f"({os.strerror(error.errno or 0)})",
                where=self.uri,
            ) from None

    def _open_locked(self) -> int:
        # The file is opened for each batch, so a rotated file is followed and a fork shares nothing. Under the
        # lock a batch that was written in part can be removed although other processes write to the file.
        end = time.monotonic() + self._lock_wait
        while True:
            descriptor = self._open()
            try:
                acquire(descriptor, wait=max(0, end - time.monotonic()))
                if self._is_current(descriptor):
                    return descriptor
            except BaseException:
                release(descriptor)
                raise
            # It was rotated away between the two calls.
            release(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, 0o640)
        except FileNotFoundError:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            return os.open(self._path, flags, 0o640)

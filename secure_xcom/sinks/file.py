"""The file sink: JSON Lines, appended in one write.

    file:///path/access-log.jsonl       one file; several processes of a machine may write to it
    file:///path/                       the file HOSTNAME.jsonl in this folder, for a folder that hosts share

Options: ``fsync=true`` waits until the disk has each event; ``lock_wait=SECONDS`` is how long another process's
lock is waited for, 1 to 600, by default 30; ``optional=true``. The file and, if need be, its folder are made with
modes 0640 and 0750: auditors read it through the group.

Who may read the file can also lock it and not let go. After the wait nothing is pushed or pulled on this machine,
and the error names the process that holds the lock.

Rotation: rename the file (logrotate's ``create`` or ``nocreate``, with ``delaycompress``); never ``copytruncate``,
which loses what is written between its two steps.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from secure_xcom.core.errors import AuditError, UriInvalid
from secure_xcom.core.event import Line
from secure_xcom.core.file_lock import WAIT_SECONDS, NotLocked, acquire, release
from secure_xcom.sinks.sink_uri import SinkUri

_LOCK_WAIT_MAX = 600


class FileSink:
    """Appends each batch of events with one write, under a lock, and follows a rotated file.

    :raises UriInvalid: the URI does not name an absolute path, or has an unknown option.
    """

    dear = False

    def __init__(self, uri: SinkUri) -> None:
        parts = urlsplit(uri.place)
        self.uri = uri.place
        uri.only("fsync", "lock_wait")
        self._fsync = uri.switch("fsync")
        self._lock_wait = uri.number("lock_wait", int(WAIT_SECONDS), least=1, most=_LOCK_WAIT_MAX)
        folder = parts.path.endswith("/")
        path = Path(unquote(parts.path))
        self._path = path / f"{socket.gethostname()}.jsonl" if folder else path
        if uri.scheme != "file" or parts.netloc or not path.is_absolute() or path == Path("/"):
            raise UriInvalid(
                "a file sink is file:///absolute/path",
                where=f"sink URI {uri.shown:.120}",
                remedy="write three slashes",
            )

    def write(self, lines: Sequence[Line]) -> None:
        """Append the events.

        :raises AuditError: the file cannot be written, or another process does not let go of its lock; a part of
            a batch that was written is taken back.
        """
        data = b"".join(line.data + b"\n" for line in lines)
        try:
            descriptor = self._open_locked()
            try:
                self._append(descriptor, data)
            finally:
                release(descriptor)
        except NotLocked as error:
            raise AuditError(
                f"another process has held the access log's lock for {self._lock_wait} seconds: {error.holder}",
                where=self.uri,
                remedy="end that process, and let none but the tasks' user and auditors open the file; "
                "lock_wait=SECONDS in the sink's URI waits longer",
            ) from None
        except OSError as error:
            raise AuditError(
                f"the access log cannot be written ({type(error).__name__}: {os.strerror(error.errno or 0)})",
                where=self.uri,
            ) from None

    def _append(self, descriptor: int, data: bytes) -> None:
        now = os.fstat(descriptor)
        before, regular = now.st_size, stat.S_ISREG(now.st_mode)
        if data and regular and before and os.pread(descriptor, 1, before - 1) != b"\n":
            # A process was killed, or the machine went down, within a line: it stays as it is, and by itself.
            data = b"\n" + data
        # A write that fails has written nothing; one that finds the disk full half-way gives a smaller number.
        written = os.write(descriptor, data)
        try:
            if written == len(data) and self._fsync:
                os.fsync(descriptor)
        except OSError:
            self._take_back(descriptor, before)
            raise
        if written != len(data):
            self._take_back(descriptor, before)
            raise AuditError("the access log took only a part of an event: the disk is full", where=self.uri)

    def _take_back(self, descriptor: int, before: int) -> None:
        try:
            os.ftruncate(descriptor, before)
        except OSError as error:
            # A file that can only be appended to (chattr +a) keeps it; the next line begins on a line of its own.
            raise AuditError(
                "the access log took only a part of an event, which cannot be taken back "
                f"({os.strerror(error.errno or 0)})",
                where=self.uri,
            ) from None

    def _open_locked(self) -> int:
        # The file is opened anew for each batch, so a rotated file is followed and a fork shares nothing. The lock
        # makes taking back a half-written batch safe beside other processes.
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

"""The file sink: JSON Lines, appended in one write.

URI form: ``file:///path/access-log.jsonl``. The file and, if need be, its folder are made with modes 0640 and
0750: auditors read it through the group.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from secure_xcom.audit.events import line
from secure_xcom.errors import AuditError, UriInvalid


class FileSink:
    """Appends each batch of events with one write, under a lock, and follows a rotated file.

    :raises UriInvalid: the URI does not name an absolute path.
    """

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self.uri = uri
        self._path = Path(unquote(parts.path))
        if parts.scheme != "file" or parts.netloc or parts.query or parts.fragment or not self._path.name:
            raise UriInvalid(
                "a file sink is file:///absolute/path",
                where=f"sink URI {uri!r:.120}",
                remedy="write three slashes",
            )

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """Append the records.

        :raises AuditError: the file cannot be written; a part of a batch that was written is taken back.
        """
        data = b"".join(line(record) for record in records)
        try:
            descriptor = self._open()
            try:
                # The file is opened anew for each batch, so a rotated file is followed and a fork shares
                # nothing. The lock makes taking back a half-written batch safe beside other processes.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                before = os.fstat(descriptor).st_size
                written = self._append(descriptor, data, before)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise AuditError(
                f"the access log cannot be written ({type(error).__name__}: {os.strerror(error.errno or 0)})",
                where=self.uri,
            ) from None
        if written != len(data):
            raise AuditError("the access log took only a part of an event: the disk is full", where=self.uri)

    def _append(self, descriptor: int, data: bytes, before: int) -> int:
        # A write that fails has written nothing; one that finds the disk full half-way gives a smaller number.
        written = os.write(descriptor, data)
        if written != len(data):
            os.ftruncate(descriptor, before)
        return written

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, 0o640)
        except FileNotFoundError:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            return os.open(self._path, flags, 0o640)

"""Follow file sinks: return new lines as they are written, across rotations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.operator_errors import AccessLogUnreadable
from secure_xcom.sinks.sink_uri import SinkUri

_READ_BYTES = 1 << 20


class FollowedFile:
    """One file, and the file that takes its name after a rotation.

    :param from_end: start with new lines; else with the first line.
    """

    def __init__(self, path: Path, *, from_end: bool) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._rest = b""
        self._open(from_end=from_end)

    def lines(self) -> Iterator[bytes]:
        """Return the whole lines that are new since the last call.

        :raises AccessLogUnreadable: the file may not be read.
        """
        while True:
            yield from self._new()
            if not self._replaced():
                return
            # The old file is read to its end after it lost its name. Nothing is missed, since the file sink opens
            # the file for each batch and so never appends to a renamed one.
            yield from self._new()
            self.close()
            self._open(from_end=False)
            if self._descriptor is None:
                return

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._rest = None, b""

    def _open(self, *, from_end: bool) -> None:
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # Between a rotation and the next event there is no file.
            return
        except OSError as error:
            raise AccessLogUnreadable(
                f"the file cannot be read ({os.strerror(error.errno or 0)})", where=str(self.path)
            ) from None
        if from_end:
            os.lseek(self._descriptor, 0, os.SEEK_END)

    def _new(self) -> Iterator[bytes]:
        if self._descriptor is None:
            return
        while read := os.read(self._descriptor, _READ_BYTES):
            *lines, self._rest = (self._rest + read).split(b"\n")
            yield from (line for line in lines if line)

    def _replaced(self) -> bool:
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            return False
        return self._descriptor is None or not os.path.samestat(now, os.fstat(self._descriptor))


class Followed:
    """A file sink's file, or all files in its folder, including those of new hosts.

    :raises UriInvalid: the URI does not name a file sink.
    """

    def __init__(self, uri: str) -> None:
        parsed = SinkUri.parse(uri)
        if parsed.scheme != "file":
            raise UriInvalid(
                "only a file sink can be followed",
                where=parsed.where,
                remedy="leave out --follow",
            )
        path, is_folder = parsed.file_path()
        self._folder = path if is_folder else None
        self._files: dict[Path, FollowedFile] = {}
        self._open_new([path] if self._folder is None else self._paths(), from_end=True)

    def lines(self) -> Iterator[bytes]:
        """Return the new lines since the last call."""
        if self._folder is not None:
            self._open_new(self._paths(), from_end=False)
        for file in self._files.values():
            yield from file.lines()

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl")) if self._folder is not None else []

    def _open_new(self, paths: list[Path], *, from_end: bool) -> None:
        for path in paths:
            if path not in self._files:
                self._files[path] = FollowedFile(path, from_end=from_end)

"""New lines of file sinks as they are written, across rotations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from secure_xcom.core.errors import AccessLogUnreadable, UriInvalid
from secure_xcom.sinks.sink_uri import SinkUri

_READ_BYTES = 1 << 20


class FollowedFile:
    """One file: what is appended, and what is written to the file that takes its name after a rotation.

    :param from_end: begin with what is written from now on; else with the first line.
    """

    def __init__(self, path: Path, *, from_end: bool) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._rest = b""
        self._open(from_end=from_end)

    def lines(self) -> Iterator[bytes]:
        """The whole lines that are new since the last time.

        :raises AccessLogUnreadable: the file may not be read.
        """
        while True:
            yield from self._new()
            if not self._replaced():
                return
            # The old file was read to its end after it had lost its name, so nothing of it is missed but what a
            # writer that holds it still appends; our writers open the file anew for each event.
            yield from self._new()
            self.close()
            self._open(from_end=False)
            if self._descriptor is None:
                return

    def close(self) -> None:
        """Give the file back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._rest = None, b""

    def _open(self, *, from_end: bool) -> None:
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # Between a rotation and the next event there is none.
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
    """A file sink's file, or all files in its folder, those of new hosts too.

    :raises UriInvalid: the sink writes no files.
    """

    def __init__(self, uri: str) -> None:
        parsed = SinkUri.parse(uri)
        if parsed.scheme != "file":
            raise UriInvalid(
                "only a file sink can be followed",
                where=f"sink URI {parsed.shown:.120}",
                remedy="leave out --follow",
            )
        path = unquote(urlsplit(parsed.place).path)
        self._folder = Path(path) if path.endswith("/") else None
        self._files: dict[Path, FollowedFile] = {}
        self._look([Path(path)] if self._folder is None else self._names(), from_end=True)

    def lines(self) -> Iterator[bytes]:
        """New lines since the last time."""
        if self._folder is not None:
            self._look(self._names(), from_end=False)
        for file in self._files.values():
            yield from file.lines()

    def close(self) -> None:
        """Give all files back."""
        for file in self._files.values():
            file.close()

    def _names(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl")) if self._folder is not None else []

    def _look(self, paths: list[Path], *, from_end: bool) -> None:
        for path in paths:
            if path not in self._files:
                self._files[path] = FollowedFile(path, from_end=from_end)

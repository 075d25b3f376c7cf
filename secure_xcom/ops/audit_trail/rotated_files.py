"""Files of an access log, also rotated and compressed ones, while a rotation may happen at any moment."""

from __future__ import annotations

import gzip
import os
import re
import stat
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, cast

import zstandard

from secure_xcom.core.operator_errors import AccessLogUnreadable
from secure_xcom.ops.audit_trail.pieces import TIME, Piece
from secure_xcom.sinks.sink_uri import SinkUri

# Names that logrotate gives: NAME.1, NAME-20261122, NAME-20261122.gz, NAME.2.zst
_ROTATED = r"([.-]\d[\dT_.:-]*)?(\.gz|\.zst)?"
_FIRST_BYTES = 64 << 10


class FileSource:
    """A file sink's file, or each host's file in a folder, with the files that logrotate has made of them."""

    def __init__(self, uri: SinkUri) -> None:
        self.uri = uri.place
        path, is_folder = uri.file_path()
        self._folder = path if is_folder else path.parent
        self._name = r"[^/]+\.jsonl" if is_folder else re.escape(path.name)

    def pieces(self) -> list[Piece]:
        """Return the files in order of their first event's time; files without events in order of their names."""
        files = self._files()
        # A rotation in the middle of a listing hides a file from it: two equal listings have missed none.
        while _inodes(again := self._files()) != _inodes(files):
            files = again
        pieces = [_piece(path, status) for path, status in files.items()]
        return sorted(pieces, key=lambda piece: (_first_time(piece), piece.place))

    def _files(self) -> dict[Path, os.stat_result]:
        """Return the files that have a name of this sink now, each with its status."""
        try:
            names = sorted(os.listdir(self._folder))
        except OSError as error:
            raise AccessLogUnreadable(
                f"the folder of the access log cannot be read ({os.strerror(error.errno or 0)})", where=self.uri
            ) from None
        form = re.compile(self._name + _ROTATED)
        files: dict[Path, os.stat_result] = {}
        for path in [self._folder / name for name in names if form.fullmatch(name)]:
            try:
                status = path.stat()
            except FileNotFoundError:
                # It was renamed since it was listed, so the next listing differs.
                continue
            if stat.S_ISREG(status.st_mode):
                files[path] = status
        return files


def _inodes(files: Mapping[Path, os.stat_result]) -> dict[Path, tuple[int, int]]:
    return {path: (status.st_dev, status.st_ino) for path, status in files.items()}


def _piece(path: Path, status: os.stat_result) -> Piece:
    """Return the file that had this name, even if a rotation renames it before it is read."""

    def opened() -> IO[bytes]:
        for candidate in (path, *sorted(path.parent.iterdir())):
            try:
                if os.path.samestat(candidate.stat(), status):
                    return opener(candidate)()
            except FileNotFoundError:
                # It was renamed between the two calls, so the next name is tried.
                continue
        raise _moved(str(path))

    written = datetime.fromtimestamp(status.st_mtime, timezone.utc)
    return Piece(str(path), status.st_size, opened, written, status)


def _moved(place: str) -> AccessLogUnreadable:
    return AccessLogUnreadable(
        "the file was rotated away while the access log was read",
        where=place,
        remedy="run the command again, and use delaycompress in logrotate's configuration",
    )


def opener(path: Path) -> Callable[[], IO[bytes]]:
    """Return a function that opens a file and decompresses it if its name ends in .gz or .zst."""

    def opened() -> IO[bytes]:
        if path.suffix == ".gz":
            return cast("IO[bytes]", gzip.open(path, "rb"))
        if path.suffix == ".zst":
            return zstandard.ZstdDecompressor().stream_reader(path.open("rb"), closefd=True)
        return path.open("rb")

    return opened


def _first_time(piece: Piece) -> str:
    try:
        with piece.open() as file:
            match = TIME.search(file.read(_FIRST_BYTES))
    except (AccessLogUnreadable, OSError, EOFError, zlib.error, zstandard.ZstdError):
        # The error is raised when the lines are read.
        match = None
    return match.group(1).decode() if match else "~"

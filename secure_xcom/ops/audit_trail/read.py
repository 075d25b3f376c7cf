"""Read back what a sink has written, oldest first: files (also rotated and compressed), objects, rows."""

from __future__ import annotations

import gzip
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple, Protocol, cast

import zstandard
from typing_extensions import Self

from secure_xcom.core.errors import StoreError, UriInvalid
from secure_xcom.core.operator_errors import AccessLogUnreadable
from secure_xcom.sinks.sink_uri import Kind, SinkUri
from secure_xcom.stores import Store, store

BLOCK_BYTES = 4 << 20
# Longer data without a newline is not a line of an access log, and is passed on in pieces.
_LINE_MAX_BYTES = 1 << 20
# Names that logrotate gives: NAME.1, NAME-20261122, NAME-20261122.gz, NAME.2.zst
_ROTATED = r"([.-]\d[\dT_.:-]*)?(\.gz|\.zst)?"
_FIRST_BYTES = 64 << 10
TIME = re.compile(rb'"time":"([0-9TZ:.-]{27})"')
"""The time in a line that was not parsed."""


class RawLine(NamedTuple):
    """One line as it is stored: its file or object, its number from 1, its bytes without the newline."""

    place: str
    number: int
    data: bytes
    whole: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """One file or object of a sink.

    :ivar size: the stored size in bytes, for progress.
    :ivar open: opens the decompressed content.
    :ivar written: when it was last written to, by the clock of its host or store; None where that is unknown.
    """

    place: str
    size: int
    open: Callable[[], IO[bytes]] = field(repr=False)
    written: datetime | None = None

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
        """Return whole lines in blocks of about this size: the number of the first line, and the bytes.

        Only the last block may end without a newline.

        :raises AccessLogUnreadable: it cannot be read, or its compressed data is damaged.
        """
        number, rest = 1, b""
        try:
            with self.open() as file:
                while read := file.read(size):
                    rest += read
                    end = rest.rfind(b"\n") + 1
                    if not end and len(rest) <= _LINE_MAX_BYTES:
                        continue
                    block, rest = rest[: end or len(rest)], rest[end or len(rest) :]
                    yield number, block
                    number += block.count(b"\n")
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            raise AccessLogUnreadable(
                f"a part of the access log cannot be read ({type(error).__name__})", where=self.place
            ) from None
        if rest:
            yield number, rest

    def lines(self) -> Iterator[RawLine]:
        """Return every line, in order, without empty ones."""
        for number, block in self.blocks():
            lines = block.split(b"\n")
            last = len(lines) - 1
            for index, data in enumerate(lines):
                if data:
                    yield RawLine(self.place, number + index, data, index < last)


class Source(Protocol):
    """What one sink has written and can be read back."""

    uri: str

    def pieces(self) -> list[Piece]:
        """Return the files or objects, oldest first.

        :raises AccessLogUnreadable: they cannot be listed.
        """


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


class StoreSource:
    """An object sink's objects, each with the lines of one batch."""

    def __init__(self, uri: SinkUri) -> None:
        self.uri = uri.place
        self._store: Store = store(uri.without("batch").rest)

    def pieces(self) -> list[Piece]:
        """Return the objects by name: the day on which a chain began, the chain, the first event's number."""
        try:
            objects = sorted((entry.path, entry.size, entry.modified) for entry in self._store.list("events/"))
        except StoreError as error:
            raise AccessLogUnreadable(error.what, where=self.uri, remedy=error.remedy) from None
        folder = self.uri.rstrip("/")
        return [Piece(f"{folder}/{path}", size, self._opener(path), modified) for path, size, modified in objects]

    def _opener(self, path: str) -> Callable[[], IO[bytes]]:
        def opened() -> IO[bytes]:
            try:
                return BytesIO(b"".join(self._store.get(path)))
            except StoreError as error:
                raise AccessLogUnreadable(error.what, where=self.uri, remedy=error.remedy) from None

        return opened


class DatabaseSource:
    """A database sink's rows, chain by chain. The reader needs SELECT, which workers do not have."""

    def __init__(self, uri: SinkUri) -> None:
        from secure_xcom.sinks.database import DatabaseSink

        self._sink = DatabaseSink(uri)
        self.uri = self._sink.uri

    def pieces(self) -> list[Piece]:
        """Return all rows as one piece; a line's number is its row's number in this order."""
        return [Piece(self.uri, 0, lambda: cast("IO[bytes]", _Rows(self._lines())))]

    def _lines(self) -> Iterator[bytes]:
        import sqlalchemy
        from sqlalchemy.exc import SQLAlchemyError

        names = ("chain", "sequence", "line")
        table = sqlalchemy.table(self._sink.table, *(sqlalchemy.column(name) for name in names))
        query = sqlalchemy.select(table.c.line).order_by(table.c.chain, table.c.sequence)
        try:
            with (
                self._sink.engine().connect().execution_options(stream_results=True, yield_per=1000) as connection
            ):
                for row in connection.execute(query):
                    yield str(row[0]).encode() + b"\n"
        except SQLAlchemyError as error:
            raise AccessLogUnreadable(
                f"the rows cannot be read ({type(error).__name__})",
                where=self.uri,
                remedy="run the command as a database user with SELECT on the table",
            ) from None


class _Rows:
    """Lines as a file that is read once, from its start."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def read(self, size: int) -> bytes:
        """Return whole lines of at least this many bytes in total, or the rest."""
        block = bytearray()
        for line in self._lines:
            block += line
            if len(block) >= size:
                break
        return bytes(block)


def readable(uri: str) -> bool:
    """Check whether the events of a sink can be read back."""
    return SinkUri.parse(uri).kind in _SOURCES


def source(uri: str) -> Source:
    """Return the source that reads back what a sink has written.

    :raises UriInvalid: this kind of sink cannot be read back.
    """
    parsed = SinkUri.parse(uri)
    made = _SOURCES.get(parsed.kind)
    if made is None:
        raise UriInvalid(
            f"the events of a sink with the scheme {parsed.scheme!r:.40} cannot be read back",
            where=parsed.where,
            remedy="name a file sink, an object sink or a database sink with --sink",
        )
    return made(parsed)


_SOURCES: dict[Kind | None, Callable[[SinkUri], Source]] = {
    "file": FileSource,
    "objects": StoreSource,
    "database": DatabaseSource,
}


def raw_lines(sources: Sequence[Source]) -> Iterator[RawLine]:
    """Return every line of every source, each source oldest first."""
    for each in sources:
        for piece in each.pieces():
            yield from piece.lines()


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

    return Piece(str(path), status.st_size, opened, datetime.fromtimestamp(status.st_mtime, timezone.utc))


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

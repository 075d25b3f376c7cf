"""What a sink has written: its files (rotated and compressed ones too), its objects, its rows; oldest first."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple, Protocol, cast
from urllib.parse import unquote, urlsplit

import zstandard
from typing_extensions import Self

from secure_xcom.core.errors import AccessLogUnreadable, StoreError, UriInvalid
from secure_xcom.sinks.sink_uri import SinkUri
from secure_xcom.stores import Store, store

BLOCK_BYTES = 4 << 20
# What is longer without a newline is no line of ours, and is handed on in pieces.
_LINE_MAX_BYTES = 1 << 20
# Names that logrotate gives: NAME.1, NAME-20261122, NAME-20261122.gz, NAME.2.zst
_ROTATED = r"([.-]\d[\dT_.:-]*)?(\.gz|\.zst)?"
_FIRST_BYTES = 64 << 10
_STORES = ("s3", "gs", "abfs", "memory")


class RawLine(NamedTuple):
    """One line as it lies there: in which file or object, its number from 1, its bytes without the newline."""

    place: str
    number: int
    data: bytes
    whole: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """One file or object of a sink.

    :ivar size: in bytes as it is stored, for progress.
    :ivar open: gives what was written, decompressed.
    :ivar written: when it was last written to, by the clock of where it lies; None where that is not known.
    """

    place: str
    size: int
    open: Callable[[], IO[bytes]] = field(repr=False)
    written: datetime | None = None

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
        """Whole lines in blocks of about that size: the number of the first line, and the bytes.

        Only the last block may end without a newline.

        :raises AccessLogUnreadable: it cannot be read, or is damaged where it is compressed.
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
        """Every line, in order. Empty lines are none."""
        for number, block in self.blocks():
            lines = block.split(b"\n")
            last = len(lines) - 1
            for at, data in enumerate(lines):
                if data:
                    yield RawLine(self.place, number + at, data, at < last)


class Source(Protocol):
    """What can be read back of one sink."""

    uri: str

    def pieces(self) -> list[Piece]:
        """The files or objects, oldest first.

        :raises AccessLogUnreadable: they cannot be listed.
        """


class FileSource:
    """A file sink's file, or each host's in a folder, with what logrotate has made of them."""

    def __init__(self, uri: SinkUri) -> None:
        self.uri = uri.place
        path = unquote(urlsplit(uri.place).path)
        self._folder = Path(path) if path.endswith("/") else Path(path).parent
        self._name = r"[^/]+\.jsonl" if path.endswith("/") else re.escape(Path(path).name)

    def pieces(self) -> list[Piece]:
        """By the time of their first events; the order of files that have none is that of their names."""
        try:
            names = sorted(os.listdir(self._folder))
        except OSError as error:
            raise AccessLogUnreadable(
                f"the folder of the access log cannot be read ({os.strerror(error.errno or 0)})", where=self.uri
            ) from None
        form = re.compile(self._name + _ROTATED)
        paths = [self._folder / name for name in names if form.fullmatch(name)]
        found = [_piece(path) for path in paths if path.is_file()]
        return sorted(found, key=lambda piece: (_first_time(piece), piece.place))


class StoreSource:
    """An object sink's objects: each holds the lines of one batch."""

    def __init__(self, uri: SinkUri) -> None:
        self.uri = uri.place
        left = {name: value for name, value in uri.options.items() if name != "batch"}
        self._store: Store = store(SinkUri(uri.scheme, uri.place, left, uri.optional).rest)

    def pieces(self) -> list[Piece]:
        """By name: the day on which a chain began, the chain, the number of the first event."""
        try:
            found = sorted((entry.path, entry.size, entry.modified) for entry in self._store.list("events/"))
        except StoreError as error:
            raise AccessLogUnreadable(error.what, where=self.uri, remedy=error.remedy) from None
        folder = self.uri.rstrip("/")
        return [Piece(f"{folder}/{path}", size, self._opener(path), modified) for path, size, modified in found]

    def _opener(self, path: str) -> Callable[[], IO[bytes]]:
        def opened() -> IO[bytes]:
            try:
                return BytesIO(b"".join(self._store.get(path)))
            except StoreError as error:
                raise AccessLogUnreadable(error.what, where=self.uri, remedy=error.remedy) from None

        return opened


class DatabaseSource:
    """A database sink's rows, chain by chain. Whoever reads needs SELECT, which workers do not have."""

    def __init__(self, uri: SinkUri) -> None:
        from secure_xcom.sinks.database import DatabaseSink

        self._sink = DatabaseSink(uri)
        self.uri = self._sink.uri

    def pieces(self) -> list[Piece]:
        """All rows as one; a line's number is that of its row in this order."""
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
                remedy="run it as a user who may SELECT from the table",
            ) from None


class _Rows:
    """Lines as a file that is read once, from the front."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def read(self, size: int) -> bytes:
        """Whole lines of at least that many bytes together, or what is left."""
        taken = bytearray()
        for line in self._lines:
            taken += line
            if len(taken) >= size:
                break
        return bytes(taken)


def readable(uri: str) -> bool:
    """Whether what the sink of this URI has written can be read back from here."""
    scheme = SinkUri.parse(uri).scheme
    return scheme in ("file", "db", *_STORES) or scheme.startswith("db+")


def source(uri: str) -> Source:
    """The source that reads back what the sink of this URI has written.

    :raises UriInvalid: what was written there cannot be read back from here.
    """
    parsed = SinkUri.parse(uri)
    if parsed.scheme == "file":
        return FileSource(parsed)
    if parsed.scheme in _STORES:
        return StoreSource(parsed)
    if parsed.scheme == "db" or parsed.scheme.startswith("db+"):
        return DatabaseSource(parsed)
    raise UriInvalid(
        f"what a sink of the scheme {parsed.scheme!r:.40} has written is not read by this command",
        where=f"sink URI {parsed.shown:.120}",
        remedy="name a file sink, an object sink or a database sink with --sink",
    )


def raw_lines(sources: Sequence[Source]) -> Iterator[RawLine]:
    """Every line of every source, each source oldest first."""
    for one in sources:
        for piece in one.pieces():
            yield from piece.lines()


def _piece(path: Path) -> Piece:
    """The file that has this name now, whatever its name is when it is read: a rotation in between moves names."""
    try:
        status = path.stat()
    except OSError as error:
        raise _moved(str(path)) from error

    def opened() -> IO[bytes]:
        for candidate in (path, *sorted(path.parent.iterdir())):
            try:
                if os.path.samestat(candidate.stat(), status):
                    return opener(candidate)()
            except FileNotFoundError:
                # It was renamed at this moment; another name is tried.
                continue
        raise _moved(str(path))

    return Piece(str(path), status.st_size, opened, datetime.fromtimestamp(status.st_mtime, timezone.utc))


def _moved(place: str) -> AccessLogUnreadable:
    return AccessLogUnreadable(
        "the file was rotated away while the access log was read",
        where=place,
        remedy="run it again, and let logrotate compress with delaycompress",
    )


def opener(path: Path) -> Callable[[], IO[bytes]]:
    """Opens a file, and gives what was compressed into it where its name says so (.gz, .zst)."""

    def opened() -> IO[bytes]:
        if path.suffix == ".gz":
            return cast("IO[bytes]", gzip.open(path, "rb"))
        if path.suffix == ".zst":
            return zstandard.ZstdDecompressor().stream_reader(path.open("rb"), closefd=True)
        return path.open("rb")

    return opened


_TIME = re.compile(rb'"time":"([0-9TZ:.-]{27})"')


def _first_time(piece: Piece) -> str:
    try:
        with piece.open() as file:
            found = _TIME.search(file.read(_FIRST_BYTES))
    except (AccessLogUnreadable, OSError, EOFError, zlib.error, zstandard.ZstdError):
        # What cannot be read is said when its lines are asked for.
        found = None
    return found.group(1).decode() if found else "~"

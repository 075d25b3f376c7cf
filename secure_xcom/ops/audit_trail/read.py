"""Read back what a sink has written, oldest first: files, objects, rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import IO, cast

from typing_extensions import Self

from secure_xcom.core.errors import StoreError, UriInvalid
from secure_xcom.core.operator_errors import AccessLogUnreadable
from secure_xcom.ops.audit_trail.pieces import Piece, RawLine, Source
from secure_xcom.ops.audit_trail.rotated_files import FileSource
from secure_xcom.sinks.sink_uri import Kind, SinkUri
from secure_xcom.stores import Store, store


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

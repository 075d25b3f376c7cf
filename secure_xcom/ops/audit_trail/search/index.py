"""An index of the access log's files: which blocks of a file can hold an event that a query looks for.

An index only saves reading. Every hit is read from the log, and whatever is not indexed, or was indexed before the
file changed in another way than by growing, is read as without an index. It holds times, numbers and checksums of
ids, no id itself. Whoever could change it could hide events from a search, so it must belong to the one who
searches, and is never kept beside the log, where workers write.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from secure_xcom.core.operator_errors import StateInvalid
from secure_xcom.ops.audit_trail.pieces import Piece
from secure_xcom.ops.audit_trail.search.index_blocks import Block, Lookup
from secure_xcom.ops.audit_trail.search.index_files import identity_of, is_compressed, opened, settled, tail_of

_FORM = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
  id INTEGER PRIMARY KEY, sink TEXT NOT NULL, identity TEXT NOT NULL, size INTEGER NOT NULL,
  modified INTEGER NOT NULL, changed INTEGER NOT NULL, tail INTEGER NOT NULL, whole INTEGER NOT NULL DEFAULT 0,
  UNIQUE (sink, identity)
);
CREATE TABLE IF NOT EXISTS block (
  file INTEGER NOT NULL, number INTEGER NOT NULL, lines INTEGER NOT NULL, start INTEGER NOT NULL,
  stop INTEGER NOT NULL, tail INTEGER NOT NULL, oldest TEXT, newest TEXT, first_id TEXT, last_id TEXT,
  items BLOB NOT NULL, PRIMARY KEY (file, start)
);
"""
_BLOCK_COLUMNS = "number, lines, start, stop, tail, oldest, newest, first_id, last_id, items"
# How many blocks a killed run loses.
_BLOCKS_AT_ONCE = 1000


class Index:
    """The index file, an SQLite database.

    :param create: make it where there is none.
    :raises StateInvalid: others can change it, or it cannot be used.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        _check_owner(path.parent)
        with self._translated():
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(path, flags | os.O_CREAT if create else flags, 0o600))
        _check_owner(path)
        with self._translated():
            self._connection = sqlite3.connect(path, isolation_level=None)
            (form,) = self._connection.execute("PRAGMA user_version").fetchone()
            if form not in (0, _FORM):
                raise StateInvalid("the index is of another release", where=str(path), remedy=_REMEDY)
            self._connection.executescript(
                f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA user_version={_FORM}; {_SCHEMA}"
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # --- searching ------------------------------------------------------------------------------------------

    def blocks(self, sink: str, piece: Piece, lookup: Lookup) -> Iterator[tuple[int, bytes]]:
        """Return the blocks of a file as `Piece.blocks` does, without those that cannot match.

        A block may be empty: then its number is only that of the line that follows what was left out.
        """
        wanted: list[tuple[int, int, int]] = []
        number, stop, whole = 1, 0, 0
        try:
            if (file := self._current(sink, piece)) is not None:
                whole = file.whole
                for block in self._blocks(file):
                    number, stop = block.number + block.lines, block.stop
                    if lookup.may_match(block):
                        wanted.append((block.number, block.start, stop))
        except sqlite3.Error:
            # A damaged index saves nothing, and hides nothing.
            wanted, number, stop, whole = [], 1, 0, 0
        if wanted:
            yield from piece.ranges(wanted)
        yield number, b""
        if not whole:
            yield from piece.blocks(start=stop, number=number)

    def _blocks(self, file: _File) -> Iterator[Block]:
        query = f"SELECT {_BLOCK_COLUMNS} FROM block WHERE file = ? ORDER BY start"  # noqa: S608  # a constant
        for record in self._connection.execute(query, (file.id,)):
            yield Block(*record)

    def _current(self, sink: str, piece: Piece) -> _File | None:
        """Return what is known of a file whose indexed part is still as it was; None where nothing is."""
        if piece.status is None:
            return None
        query = "SELECT id, size, modified, changed, tail, whole FROM file WHERE sink = ? AND identity = ?"
        record = self._connection.execute(query, (sink, identity_of(piece.status))).fetchone()
        if record is None:
            return None
        file = _File(*record)
        with opened(piece) as descriptor:
            status = None if descriptor is None else os.fstat(descriptor)
            if descriptor is None or status is None:
                return None
            if (status.st_size, status.st_mtime_ns, status.st_ctime_ns) == (
                file.size,
                file.modified,
                file.changed,
            ):
                return file
            if is_compressed(piece):
                # A rotation gives it another name, which changes only this time.
                same = (status.st_size, status.st_mtime_ns) == (file.size, file.modified)
                return file if same and tail_of(descriptor, status.st_size) == file.tail else None
            query = "SELECT start, stop, tail FROM block WHERE file = ?"
            for start, stop, tail in self._connection.execute(query, (file.id,)):
                if tail_of(descriptor, stop, stop - start) != tail:
                    return None
        return file

    # --- indexing -------------------------------------------------------------------------------------------

    def pending(self, sink: str, piece: Piece) -> int:
        """Return how many stored bytes of a file are not indexed."""
        with self._translated():
            file = self._current(sink, piece)
            if piece.status is None or (file is not None and file.whole):
                return 0
            stop = 0 if file is None or is_compressed(piece) else self._end(file)[1]
            return max(0, piece.size - stop)

    def update(self, sink: str, piece: Piece) -> int:
        """Index what a file has more than when it was indexed last, or all of it, and return how many bytes.

        :raises AccessLogUnreadable: the file cannot be read; :raises StateInvalid: the index cannot be written.
        """
        with self._translated():
            file = self._current(sink, piece)
            if piece.status is None or (file is not None and file.whole):
                return 0
            with opened(piece) as descriptor:
                # Up to the size at a moment when nobody writes, no batch is there in part and removed again.
                status = None if descriptor is None else settled(descriptor)
                if descriptor is None or status is None:
                    return 0
                known = (
                    status.st_size,
                    status.st_mtime_ns,
                    status.st_ctime_ns,
                    tail_of(descriptor, status.st_size),
                )
            if file is None:
                file = self._begin(sink, piece.status, known)
            else:
                self._connection.execute(
                    "UPDATE file SET size = ?, modified = ?, changed = ?, tail = ? WHERE id = ?", (*known, file.id)
                )
            return self._fill(file, piece, status.st_size)

    def _begin(self, sink: str, status: os.stat_result, known: tuple[int, int, int, int]) -> _File:
        key = (sink, identity_of(status))
        with self._transaction():
            query = "SELECT id FROM file WHERE sink = ? AND identity = ?"
            for (stale,) in self._connection.execute(query, key).fetchall():
                self._remove(stale)
            cursor = self._connection.execute(
                "INSERT INTO file (sink, identity, size, modified, changed, tail) VALUES (?, ?, ?, ?, ?, ?)",
                (*key, *known),
            )
        return _File(int(cursor.lastrowid or 0), *known)

    def _end(self, file: _File) -> tuple[int, int]:
        query = "SELECT number + lines, stop FROM block WHERE file = ? ORDER BY start DESC LIMIT 1"
        number, stop = self._connection.execute(query, (file.id,)).fetchone() or (1, 0)
        return int(number), int(stop)

    def _fill(self, file: _File, piece: Piece, size: int) -> int:
        number, begun = self._end(file)
        stop = begun
        compressed = is_compressed(piece)
        made: list[Block] = []
        whole = True
        for first, data in piece.blocks(start=stop, number=number):
            # A line that is too long is passed on in parts, which only a reading from the start finds the same.
            if (not compressed and stop + len(data) > size) or not data.endswith(b"\n"):
                whole = False
                break
            made.append(Block.of(first, stop, data))
            stop += len(data)
            if len(made) == _BLOCKS_AT_ONCE:
                self._write(file, made)
                made = []
        self._write(file, made)
        if compressed and whole:
            self._connection.execute("UPDATE file SET whole = 1 WHERE id = ?", (file.id,))
        return stop - begun

    def _write(self, file: _File, blocks: Sequence[Block]) -> None:
        with self._transaction():
            self._connection.executemany(
                f"INSERT INTO block (file, {_BLOCK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # a constant
                ((file.id, *block) for block in blocks),
            )

    def forget_others(self, sink: str, pieces: Sequence[Piece]) -> None:
        """Remove the files of a sink that are not among these: retention has removed them."""
        there = {identity_of(piece.status) for piece in pieces if piece.status is not None}
        query = "SELECT id, identity FROM file WHERE sink = ?"
        with self._translated(), self._transaction():
            for number, identity in self._connection.execute(query, (sink,)).fetchall():
                if identity not in there:
                    self._remove(number)

    def _remove(self, number: int) -> None:
        self._connection.execute("DELETE FROM block WHERE file = ?", (number,))
        self._connection.execute("DELETE FROM file WHERE id = ?", (number,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StateInvalid(
                f"the index cannot be used ({type(error).__name__})", where=str(self.path), remedy=_REMEDY
            ) from None


class _File(NamedTuple):
    """What the index says about a file."""

    id: int
    size: int
    modified: int
    changed: int
    tail: int
    whole: int = 0


_REMEDY = "name another file with --index-file, or remove this one: `secure-xcom audit index` makes it anew"


def _check_owner(path: Path) -> None:
    """Check that nobody else can change a file or folder; one that does not exist is made later.

    :raises StateInvalid: others can.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
    if status.st_uid not in (0, os.geteuid()) or writable or stat.S_ISLNK(status.st_mode):
        raise StateInvalid(
            "others can change the index, and so hide events from a search", where=str(path), remedy=_REMEDY
        )

"""The pieces of an access log, each a file or an object: read as lines, a block at a time."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, NamedTuple, Protocol

import zstandard

from secure_xcom.core.operator_errors import AccessLogUnreadable

# It fits into the cache of a processor, which searches it several times.
BLOCK_BYTES = 256 << 10
# Longer data without a newline is not a line of an access log, and is passed on in pieces.
_LINE_MAX_BYTES = 1 << 20
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
    :ivar status: a file's own identity and times; None for anything else.
    """

    place: str
    size: int
    open: Callable[[], IO[bytes]] = field(repr=False)
    written: datetime | None = None
    status: os.stat_result | None = field(default=None, repr=False)

    def blocks(self, size: int = BLOCK_BYTES, *, start: int = 0, number: int = 1) -> Iterator[tuple[int, bytes]]:
        """Return whole lines in blocks of about this size: the number of the first line, and the bytes.

        Only the last block may end without a newline.

        :param start: the offset at which to start; :param number: the number of the line there.
        :raises AccessLogUnreadable: it cannot be read, or its compressed data is damaged.
        """
        rest = b""
        with self._translated(), self.open() as file:
            if start:
                file.seek(start)
            # Blocks end at the same lines from wherever the reading starts.
            wanted = size - start % size
            while read := file.read(wanted):
                wanted = size
                end = read.rfind(b"\n") + 1
                if not end and len(rest) + len(read) <= _LINE_MAX_BYTES:
                    rest += read
                    continue
                block = b"".join((rest, memoryview(read)[: end or None]))
                rest = read[end:] if end else b""
                yield number, block
                number += block.count(b"\n")
        if rest:
            yield number, rest

    def ranges(self, wanted: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, bytes]]:
        """Return some blocks, each given as the number of its first line, its start and its end, in this order.

        :raises AccessLogUnreadable: as `blocks`.
        """
        with self._translated(), self.open() as file:
            for number, start, end in wanted:
                file.seek(start)
                block = b""
                # A decompressor may return less than it is asked for.
                while len(block) < end - start and (read := file.read(end - start - len(block))):
                    block += read
                if len(block) < end - start:
                    raise AccessLogUnreadable(
                        "a part of the access log was removed while it was read", where=self.place
                    )
                yield number, block

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            raise AccessLogUnreadable(
                f"a part of the access log cannot be read ({type(error).__name__})", where=self.place
            ) from None

    def lines(self) -> Iterator[RawLine]:
        """Return every line, in order, without empty ones."""
        for number, block in self.blocks():
            lines = block.split(b"\n")
            last = len(lines) - 1
            for index, data in enumerate(lines):
                if data:
                    yield RawLine(self.place, number + index, data, index < last)


class Source(Protocol):
    """The part of an access log that one sink has written and that can be read back."""

    uri: str

    def pieces(self) -> list[Piece]:
        """Return the files or objects, oldest first.

        :raises AccessLogUnreadable: they cannot be listed.
        """

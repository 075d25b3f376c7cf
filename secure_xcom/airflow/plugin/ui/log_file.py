"""The access log in files of this machine, read from its end: who asks for an XCom mostly asks for a new one."""

from __future__ import annotations

import os
import re
import time
import zlib
from collections.abc import Iterator
from io import SEEK_END

import zstandard

from secure_xcom.airflow.plugin.ui.cursors import decoded, encoded
from secure_xcom.airflow.plugin.ui.log_events import Event, Found, Search
from secure_xcom.core.operator_errors import AccessLogUnreadable
from secure_xcom.ops.audit_trail.pieces import Piece
from secure_xcom.ops.audit_trail.read import source

BLOCK_BYTES = 1 << 20
BYTES_MAX = 256 << 20
SECONDS_MAX = 1.0
"""What one answer reads at the most."""

_TIME = re.compile(rb'"time":"([0-9TZ:.-]{27})"')
_LINE_MAX_BYTES = 1 << 20


class _Block:
    """Whole lines of a piece, and where they begin in it, in bytes of what was written."""

    def __init__(self, start: int, data: bytes) -> None:
        self.start = start
        self.data = data

    def newest(self) -> str:
        return max((time.decode() for time in _TIME.findall(self.data)), default="")


def search(uri: str, wanted: Search, *, after: str | None, limit: int) -> Found:
    """Return an XCom's events, newest first.

    :param after: the ``next`` of the answer before.
    :raises AccessLogUnreadable: a file cannot be read; :raises RequestInvalid: ``after`` is no position.
    """
    position = decoded(after, (str, int))
    pieces = list(reversed(source(uri).pieces()))
    events: list[Event] = []
    read, until, back_to = 0, time.monotonic() + SECONDS_MAX, None
    for piece in pieces:
        name = _name(piece)
        end = None
        if position is not None:
            if name != position[0]:
                continue
            end, position = int(position[1] or 0), None
        for block in _backwards(piece, end):
            read += len(block.data)
            newest = block.newest()
            back_to = newest or back_to
            if newest and newest < wanted.since:
                return Found(events, None, read, back_to)
            if all(needle in block.data for needle in wanted.needles):
                for start, line in _lines_backwards(block):
                    event = wanted.event(line)
                    if event is not None:
                        if len(events) == limit:
                            return Found(events, encoded((name, start + len(line) + 1)), read, back_to)
                        events.append(event)
            if read >= BYTES_MAX or time.monotonic() > until:
                return Found(events, encoded((name, block.start)), read, back_to)
    return Found(events, None, read, back_to)


def _name(piece: Piece) -> str:
    """Return what tells a file from others also after it was rotated: the time of its first event, or its name."""
    with _readable(piece), piece.open() as file:
        match = _TIME.search(file.read(64 << 10))
    return match.group(1).decode() if match else piece.place


def _backwards(piece: Piece, end: int | None) -> Iterator[_Block]:
    """Yield the lines that begin before ``end``, the last ones first."""
    if piece.place.endswith((".gz", ".zst")):
        yield from _unpacked(piece, end)
        return
    with _readable(piece), piece.open() as file:
        stop = file.seek(0, SEEK_END) if end is None else end
        rest = b""
        while stop > 0:
            start = max(0, stop - BLOCK_BYTES)
            file.seek(start)
            data = file.read(stop - start) + rest
            # The first line may begin in the block before.
            cut = 0 if start == 0 else data.find(b"\n") + 1
            if start > 0 and cut == 0 and len(data) <= _LINE_MAX_BYTES + BLOCK_BYTES:
                rest, stop = data, start
                continue
            if cut < len(data):
                yield _Block(start + cut, data[cut:])
            rest, stop = data[:cut], start


def _unpacked(piece: Piece, end: int | None) -> Iterator[_Block]:
    """Yield the end of a compressed file, which is read from its front: what was read is kept, up to a bound."""
    blocks: list[_Block] = []
    start = held_bytes = 0
    with _readable(piece):
        for _, data in piece.blocks(BLOCK_BYTES):
            if end is not None and start >= end:
                break
            blocks.append(_Block(start, data if end is None else data[: end - start]))
            start, held_bytes = start + len(data), held_bytes + len(data)
            while held_bytes > BYTES_MAX:
                held_bytes -= len(blocks.pop(0).data)
    yield from reversed(blocks)


def _lines_backwards(block: _Block) -> Iterator[tuple[int, bytes]]:
    """Yield each line with the byte that it begins at."""
    end = len(block.data)
    while end > 0:
        last = end - 1 if block.data[end - 1 : end] == b"\n" else end
        start = block.data.rfind(b"\n", 0, last) + 1
        if last > start:
            yield block.start + start, block.data[start:last]
        end = start


class _readable:  # noqa: N801  # A context manager that reads as a word.
    """Turns what a file's reading raises into an error of ours."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError | EOFError | zlib.error | zstandard.ZstdError):
            reason = (
                os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
            )
            raise AccessLogUnreadable(
                f"a part of the access log cannot be read ({reason})", where=os.path.basename(self._piece.place)
            ) from None

"""Tell how many bytes the compressed buffers of an Arrow IPC stream unfold to, before any of them is unfolded.

Arrow's readers allocate the length that stands before a compressed buffer, whatever it is, and no interface of
theirs in Python tells or limits it. So the little of the format that says it is read here, and what is not
understood is refused: a stream's frames
(https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format), the buffers of each record batch
(``Message.fbs`` there), and the tables of FlatBuffers in which both are written
(https://flatbuffers.dev/internals/).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

_CONTINUES = -1
"""What a frame begins with since Arrow 0.15; before, with the length of its metadata."""

_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
"""Of the union ``MessageHeader``."""

_AS_IT_IS = -1
"""The length before a buffer that did not shrink."""

_OLD_COMPRESSION = b"ARROW:experimental_compression"
"""How Arrow 0.17 alone marked a compressed body; its readers still take it."""


def unfolded(stream: Buffer) -> int:
    """Return the sum of the lengths before the compressed buffers of a stream, 0 where none is compressed.

    :raises ValueError: it is no Arrow IPC stream.
    """
    return sum(
        _length_of(body, start, size)
        for metadata, body in _frames(memoryview(stream))
        for start, size in _compressed(metadata)
    )


def _frames(stream: memoryview) -> Iterator[tuple[memoryview, memoryview]]:
    """Yield each message's metadata and body."""
    start = 0
    while start < len(stream):
        size = _number("<i", stream, start)
        start += 4
        if size == _CONTINUES:
            size = _number("<i", stream, start)
            start += 4
        if size == 0:
            return
        metadata = _part(stream, start, size)
        body = _part(stream, start + size, _Table.root(metadata).number(3, "<q"))
        yield metadata, body
        start += size + len(body)


def _compressed(metadata: memoryview) -> Iterator[tuple[int, int]]:
    """Yield where the compressed buffers of a message begin in its body, and how long each is."""
    message = _Table.root(metadata)
    kind = message.number(1, "<B")
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return
    if _OLD_COMPRESSION in bytes(metadata):
        raise ValueError("a body that is compressed as in Arrow 0.17")
    batch = message.table(2)
    if batch is not None and kind == _DICTIONARY_BATCH:
        batch = batch.table(1)
    if batch is not None and batch.table(3) is not None:
        yield from batch.pairs(2)


def _length_of(body: memoryview, start: int, size: int) -> int:
    """Return how many bytes a compressed buffer unfolds to."""
    if size == 0:
        return 0
    buffer = _part(body, start, size)
    length = _number("<q", buffer, 0)
    if length < _AS_IT_IS:
        raise ValueError("a buffer with a negative length")
    # One that did not shrink is given as it lies there.
    return 0 if length == _AS_IT_IS else length


class _Table:
    """A table of FlatBuffers: fields by number, each absent or behind an offset."""

    def __init__(self, memory: memoryview, start: int) -> None:
        self._memory = memory
        self._start = start
        self._fields = start - _number("<i", memory, start)
        self._fields_end = self._fields + _number("<H", memory, self._fields)

    @classmethod
    def root(cls, memory: memoryview) -> _Table:
        """Return the table that the memory is of."""
        return cls(memory, _number("<I", memory, 0))

    def _place(self, field: int) -> int | None:
        start = self._fields + 4 + 2 * field
        offset = _number("<H", self._memory, start) if start + 2 <= self._fields_end else 0
        return self._start + offset if offset else None

    def _target(self, field: int) -> int | None:
        start = self._place(field)
        return None if start is None else start + _number("<I", self._memory, start)

    def number(self, field: int, form: str) -> int:
        """Return a number; 0 where it is absent."""
        start = self._place(field)
        return 0 if start is None else _number(form, self._memory, start)

    def table(self, field: int) -> _Table | None:
        """Return a table within."""
        start = self._target(field)
        return None if start is None else _Table(self._memory, start)

    def pairs(self, field: int) -> Iterator[tuple[int, int]]:
        """Yield a vector of two long numbers each."""
        start = self._target(field)
        if start is not None:
            yield from struct.iter_unpack(
                "<qq", _part(self._memory, start + 4, 16 * _number("<I", self._memory, start))
            )


def _number(form: str, memory: memoryview, start: int) -> int:
    return int(struct.unpack(form, _part(memory, start, struct.calcsize(form)))[0])


def _part(memory: memoryview, start: int, size: int) -> memoryview:
    if start < 0 or size < 0 or start + size > len(memory):
        raise ValueError("an offset or a length beyond the end of the stream")
    return memory[start : start + size]

"""How many bytes the compressed buffers of an Arrow IPC stream unfold to, told before any of them is unfolded.

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
    """The sum of the lengths that stand before the compressed buffers of a stream; 0 where none is compressed.

    :raises ValueError: it is no Arrow IPC stream.
    """
    return sum(
        _length_of(body, at, size)
        for metadata, body in _frames(memoryview(stream))
        for at, size in _compressed(metadata)
    )


def _frames(stream: memoryview) -> Iterator[tuple[memoryview, memoryview]]:
    """Each message's metadata and body."""
    at = 0
    while at < len(stream):
        size = _number("<i", stream, at)
        at += 4
        if size == _CONTINUES:
            size = _number("<i", stream, at)
            at += 4
        if size == 0:
            return
        metadata = _part(stream, at, size)
        body = _part(stream, at + size, _Table.root(metadata).number(3, "<q"))
        yield metadata, body
        at += size + len(body)


def _compressed(metadata: memoryview) -> Iterator[tuple[int, int]]:
    """Where the compressed buffers of a message begin in its body, and how long each is."""
    message = _Table.root(metadata)
    kind = message.number(1, "<B")
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return
    if _OLD_COMPRESSION in bytes(metadata):
        raise ValueError("a body that is compressed as Arrow 0.17 did it")
    batch = message.table(2)
    if batch is not None and kind == _DICTIONARY_BATCH:
        batch = batch.table(1)
    if batch is not None and batch.table(3) is not None:
        yield from batch.pairs(2)


def _length_of(body: memoryview, at: int, size: int) -> int:
    """To how many bytes a compressed buffer unfolds."""
    if size == 0:
        return 0
    buffer = _part(body, at, size)
    length = _number("<q", buffer, 0)
    if length < _AS_IT_IS:
        raise ValueError("a buffer of less than no bytes")
    # One that did not shrink is given as it lies there.
    return 0 if length == _AS_IT_IS else length


class _Table:
    """A table of FlatBuffers: fields by number, each absent or behind an offset."""

    def __init__(self, memory: memoryview, at: int) -> None:
        self._memory = memory
        self._at = at
        self._fields = at - _number("<i", memory, at)
        self._fields_end = self._fields + _number("<H", memory, self._fields)

    @classmethod
    def root(cls, memory: memoryview) -> _Table:
        """The table that the memory is of."""
        return cls(memory, _number("<I", memory, 0))

    def _place(self, field: int) -> int | None:
        at = self._fields + 4 + 2 * field
        offset = _number("<H", self._memory, at) if at + 2 <= self._fields_end else 0
        return self._at + offset if offset else None

    def _target(self, field: int) -> int | None:
        at = self._place(field)
        return None if at is None else at + _number("<I", self._memory, at)

    def number(self, field: int, form: str) -> int:
        """A number; 0 where it is absent."""
        at = self._place(field)
        return 0 if at is None else _number(form, self._memory, at)

    def table(self, field: int) -> _Table | None:
        """A table within."""
        at = self._target(field)
        return None if at is None else _Table(self._memory, at)

    def pairs(self, field: int) -> Iterator[tuple[int, int]]:
        """A vector of two long numbers each."""
        at = self._target(field)
        if at is not None:
            yield from struct.iter_unpack("<qq", _part(self._memory, at + 4, 16 * _number("<I", self._memory, at)))


def _number(form: str, memory: memoryview, at: int) -> int:
    return int(struct.unpack(form, _part(memory, at, struct.calcsize(form)))[0])


def _part(memory: memoryview, at: int, size: int) -> memoryview:
    if at < 0 or size < 0 or at + size > len(memory):
        raise ValueError("an offset or a length that leads out of the stream")
    return memory[at : at + size]

"""What the index says about one block of lines, and whether a query can have a hit there."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

from secure_xcom.ops.audit_trail.search.query import Query
from secure_xcom.ops.audit_trail.search.summary import rows

_PRODUCER = tuple(("producer", name) for name in ("dag_id", "run_id", "task_id"))
_CONSUMER = tuple(("consumer", name) for name in ("dag_id", "task_id"))
_SINGLE = (
    *_PRODUCER, *_CONSUMER, ("producer", "key"), ("producer", "attempt"), ("compartment",), ("action",),
    ("outcome",), ("error",), ("host",), ("operator",),
)  # fmt: skip
_GROUPS: tuple[tuple[tuple[str, ...], ...], ...] = (
    *((path,) for path in _SINGLE),
    _PRODUCER,
    (_PRODUCER[0], _PRODUCER[1]),
    (_PRODUCER[0], _PRODUCER[2]),
    _CONSUMER,
)
"""The fields, alone and together, whose values a block is looked up by. Alone, ids of tasks and runs are in
too many blocks. The order is a part of the form: each checksum includes the number of its group."""
_ID = ("id",)
_PATHS = (("time",), _ID, *_SINGLE)
_COLUMNS = [tuple(_PATHS.index(path) for path in group) for group in _GROUPS]

# What a block is recognized by when its file has grown: the end of its last line, which has the hash of a line.
TAIL_BYTES = 512


class Block(NamedTuple):
    """What the index says about a block.

    :ivar number: the number of its first line; :ivar start: where it starts, decompressed.
    :ivar tail: the checksum of its last bytes.
    :ivar items: four bytes for each value of each of the groups.
    """

    number: int
    lines: int
    start: int
    stop: int
    tail: int
    oldest: str | None
    newest: str | None
    first_id: str | None
    last_id: str | None
    items: bytes

    @classmethod
    def of(cls, number: int, start: int, data: bytes) -> Block:
        """Return what the index has to say about a block."""
        columns = list(zip(*rows(data, _PATHS), strict=True)) or [() for _ in _PATHS]
        times, ids = ([text for text in column if isinstance(text, str)] for column in columns[:2])
        items = {
            _item(group, values)
            for group, places in enumerate(_COLUMNS)
            for values in set(zip(*(columns[place] for place in places), strict=True))
            if None not in values
        }
        return cls(
            number,
            data.count(b"\n"),
            start,
            start + len(data),
            zlib.crc32(data[-TAIL_BYTES:]),
            min(times, default=None),
            max(times, default=None),
            min(ids, default=None),
            max(ids, default=None),
            b"".join(items),
        )


def _item(group: int, values: Sequence[str]) -> bytes:
    """Return a checksum. Two values may have the same: then a block is read for nothing."""
    text = "\0".join(values).encode("utf-8", "surrogatepass")
    return zlib.crc32(text, group).to_bytes(4, "big")


class Lookup:
    """Tells from the index whether a block can hold an event that matches a query.

    :param wanted: as `Query.wanted`.
    """

    def __init__(self, query: Query, wanted: Mapping[tuple[str, ...], tuple[str | int, ...]]) -> None:
        self._since, self._until = query.since or "", query.until or "~"
        self._ids = [str(text) for text in wanted.get(_ID, ())]
        self._items = [
            {
                _item(number, [str(value) for value in values])
                for values in product(*(wanted[path] for path in group))
            }
            for number, group in enumerate(_GROUPS)
            if all(path in wanted for path in group)
        ]
        # The fields together are rarest, and exclude most blocks at once.
        self._items.reverse()

    def may_match(self, block: Block) -> bool:
        """Return False only where no line of the block matches."""
        if block.oldest is None or block.newest is None:
            return False
        if block.newest < self._since or block.oldest >= self._until:
            return False
        for items in self._items:
            if not any(item in block.items for item in items):
                return False
        first, last = block.first_id, block.last_id
        return not self._ids or (
            first is not None and last is not None and any(first <= text <= last for text in self._ids)
        )

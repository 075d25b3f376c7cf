"""How far each chain is anchored, in memory that ten million events of a million chains fit in.

A chain that has ended gets no more entries, so its end is kept as packed bytes: 130 bytes rather than 400.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple


class AnchoredEnd(NamedTuple):
    """How far a chain is anchored, according to the entries themselves.

    ``begins_at`` and ``ends_at`` are the indexes of its first and last entry: an order that does not depend on any
    clock, and that only the holder of the signing key can change.
    """

    following: int
    last: str
    ended: bool
    time: str
    first: int
    begins_at: int
    ends_at: int


# The numbers, the hash, and the 27 characters of an event's time.
_PACKED = struct.Struct(">QQQQ32s27s")


class ChainEnds:
    """The end of each anchored chain, by the chain's id."""

    def __init__(self) -> None:
        self._open: dict[str, AnchoredEnd] = {}
        self._ended: dict[str, bytes] = {}

    def __contains__(self, chain: str) -> bool:
        return chain in self._ended or chain in self._open

    def get(self, chain: str) -> AnchoredEnd | None:
        """Return how far a chain is anchored; None where it is not."""
        packed = self._ended.get(chain)
        return self._open.get(chain) if packed is None else _unpacked(packed)

    def set(self, chain: str, end: AnchoredEnd) -> None:
        """Note how far a chain is anchored."""
        if end.ended and (packed := _packed(end)) is not None:
            self._open.pop(chain, None)
            self._ended[chain] = packed
        else:
            self._ended.pop(chain, None)
            self._open[chain] = end

    def items(self) -> Iterator[tuple[str, AnchoredEnd]]:
        """Return each chain with its end."""
        yield from self._open.items()
        for chain, packed in self._ended.items():
            yield chain, _unpacked(packed)


def _packed(end: AnchoredEnd) -> bytes | None:
    try:
        return _PACKED.pack(
            end.following, end.first, end.begins_at, end.ends_at, bytes.fromhex(end.last), end.time.encode()
        )
    except struct.error:
        # The lines of a chain whose start was rotated away may have any number, however high.
        return None


def _unpacked(packed: bytes) -> AnchoredEnd:
    following, first, begins_at, ends_at, last, time = _PACKED.unpack(packed)
    return AnchoredEnd(following, last.hex(), True, time.decode(), first, begins_at, ends_at)

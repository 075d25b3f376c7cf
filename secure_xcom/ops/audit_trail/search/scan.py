"""Compare many lines with a query, in memory that is bounded by one block.

Every line for itself: one that is half-written, damaged or hostile hides no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from secure_xcom.core.event_fields import TIME
from secure_xcom.ops.audit_trail.entries import event_of
from secure_xcom.ops.audit_trail.pieces import Piece, Source
from secure_xcom.ops.audit_trail.search.index import Index
from secure_xcom.ops.audit_trail.search.index_blocks import Lookup
from secure_xcom.ops.audit_trail.search.query import Matcher, Query
from secure_xcom.ops.audit_trail.search.summary import getter, summary_of
from secure_xcom.sinks.hashed_ids import IdHasher

# Where a value occurs at most once in so many bytes, which are some twenty lines, its lines are found by its text.
_RARE_BYTES = 16 << 10
# The end of a canonical line, whose fields are in the order of RFC 8785: only there is it surely the event's own.
_TIME = re.compile(rf',"time":"({TIME})","version":[0-9]+\}}\n'.encode())
# Text with an escape, and text in UTF-16 or UTF-32, which `json` reads too, may hold a value in other bytes.
_ESCAPED = re.compile(rb"[\\\0]")


class Hit(NamedTuple):
    """An event that matches, with its file or object and its line."""

    record: dict[str, Any]
    place: str
    line: int


class Scan:
    """One search.

    :ivar lines: how many lines were searched, with those that the index excluded.
    :ivar unread: how many of those that were read are no events.
    :ivar empty: the sinks that hold nothing, as a sink does whose URI was mistyped.
    :param progress: called with the sink's URI, the bytes searched so far, and all its bytes.
    :param index: what it excludes is not read.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        query: Query,
        hasher: IdHasher | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        index: Index | None = None,
    ) -> None:
        self._sources = sources
        self._query = query
        self._matcher = Matcher(query, hasher)
        self._wanted = query.wanted(hasher)
        self._progress = progress
        # Lines are mostly canonical, and then an event that has a value has the value's JSON in its line.
        self._needles = [[_needle(value) for value in values] for values in self._wanted.values()]
        self._fields = [(getter(path), values) for path, values in self._wanted.items()]
        self._index = index
        self._lookup = Lookup(query, self._wanted)
        self.lines = 0
        self.unread = 0
        self.empty: list[str] = []

    def hits(self) -> Iterator[Hit]:
        """Return the matching events, each sink oldest first.

        :raises AccessLogUnreadable: a sink cannot be read.
        """
        for source in self._sources:
            pieces = source.pieces()
            if not pieces:
                self.empty.append(source.uri)
            total, done = sum(piece.size for piece in pieces), 0
            for piece in pieces:
                before, number, block = self.lines, 1, b""
                for number, block in self._blocks(source.uri, piece):
                    for index, line in self._candidates(block):
                        if (record := self._matching(line)) is not None:
                            self.lines = before + number + index
                            yield Hit(record, piece.place, number + index)
                self.lines = before + number - 1 + _lines(block)
                done += piece.size
                if self._progress is not None:
                    self._progress(source.uri, done, total)

    def _blocks(self, uri: str, piece: Piece) -> Iterator[tuple[int, bytes]]:
        return piece.blocks() if self._index is None else self._index.blocks(uri, piece, self._lookup)

    def _candidates(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        """Return the lines that can match, each with its index in the block."""
        if not block or self._is_of_other_times(block):
            return iter(())
        if self._needles:
            # The value that was the rarest is searched for first, and is mostly rare again.
            count, rare = _occurrences(block, self._needles[0]), len(block) // _RARE_BYTES
            if count > rare:
                self._needles.sort(key=lambda texts: _occurrences(block, texts))
                count = _occurrences(block, self._needles[0])
            if count <= rare:
                return _lines_at(block, self._starts(block, self._needles[0] if count else ()))
        return enumerate(block.removesuffix(b"\n").split(b"\n"))

    def _is_of_other_times(self, block: bytes) -> bool:
        """Return whether no line of the block has a time of the query; lines are nearly in order of time."""
        if self._query.since is None and self._query.until is None:
            return False
        times = _TIME.findall(block)
        since, until = (self._query.since or "").encode(), (self._query.until or "~").encode()
        return len(times) == _lines(block) and (max(times) < since or min(times) >= until)

    def _starts(self, block: bytes, texts: Sequence[bytes]) -> list[int]:
        """Return where the lines begin that have one of these texts, or escapes."""
        patterns = [re.compile(re.escape(text)) for text in texts]
        if b"\\" in block or b"\0" in block:
            patterns.append(_ESCAPED)
        starts = set()
        for pattern in patterns:
            at = 0
            while match := pattern.search(block, at):
                starts.add(block.rfind(b"\n", 0, match.start()) + 1)
                # No value of a query has a line break in its JSON, so the next line is the next to search.
                at = block.find(b"\n", match.end()) + 1 or len(block)
        return sorted(starts)

    def _matching(self, line: bytes) -> dict[str, Any] | None:
        """Return the event of a line if it matches."""
        summary = summary_of(line)
        if summary is not None and any(field(summary) not in values for field, values in self._fields):
            return None
        record = event_of(line)
        if record is None:
            self.unread += 1
        return record if record is not None and self._matcher.matches(record) else None


def _lines(block: bytes) -> int:
    """Return the number of lines, of which the last may have no end."""
    return block.count(b"\n") + (block[-1:] not in (b"\n", b""))


def _occurrences(block: bytes, texts: Sequence[bytes]) -> int:
    return sum(map(block.count, texts))


def _lines_at(block: bytes, starts: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Return the lines that begin there, each with its index in the block."""
    index = at = 0
    for start in starts:
        index += block.count(b"\n", at, start)
        at = start
        end = block.find(b"\n", start)
        yield index, block[start : end if end >= 0 else None]


def _needle(value: str | int) -> bytes:
    # An argument that is not valid UTF-8 becomes bytes that occur in no line.
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogateescape")

"""Holding many lines against a query: PyArrow reads blocks of them into columns, and only what matches is kept.

Memory is bounded by a block. A block with a line that PyArrow does not read (half-written, damaged) is read line
by line instead, so that one bad line hides nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from secure_xcom.core.errors import ExtraMissing
from secure_xcom.core.hashed_ids import IdHasher
from secure_xcom.ops.audit_trail.entries import event_of
from secure_xcom.ops.audit_trail.read import Source
from secure_xcom.ops.audit_trail.search.query import Matcher, Query

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 4 << 20
# Where fewer lines than one in so many can match, they are looked for as text and read by themselves.
_RARE = 20
_TIME = re.compile(rb'"time":"([0-9TZ:.-]{27})"')


class Hit(NamedTuple):
    """An event that matches, and where it lies."""

    record: dict[str, Any]
    place: str
    line: int


class Scan:
    """One search.

    :ivar lines: how many lines were read; :ivar unread: how many of them are no events.
    :ivar empty: the sinks that nothing has been written to, as one is whose URI was mistyped.
    :param progress: told what is read, how many bytes of how many.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        query: Query,
        hasher: IdHasher | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self._sources = sources
        self._query = query
        self._matcher = Matcher(query, hasher)
        self._wanted = query.wanted(hasher)
        self._progress = progress
        self.lines = 0
        self.unread = 0
        self.empty: list[str] = []

    def hits(self) -> Iterator[Hit]:
        """What matches, each sink oldest first.

        :raises AccessLogUnreadable: a sink cannot be read; :raises ExtraMissing: PyArrow is not installed.
        """
        for source in self._sources:
            pieces = source.pieces()
            if not pieces:
                self.empty.append(source.uri)
            total, done = sum(piece.size for piece in pieces), 0
            for piece in pieces:
                for number, block in piece.blocks(BLOCK_BYTES):
                    lines = block.split(b"\n")
                    if not lines[-1]:
                        lines.pop()
                    self.lines += len(lines)
                    for at in self._matching(block, lines):
                        record = event_of(lines[at])
                        if record is None:
                            self.unread += 1
                        else:
                            yield Hit(record, piece.place, number + at)
                done += piece.size
                if self._progress is not None:
                    self._progress(source.uri, done, total)

    def _matching(self, block: bytes, lines: Sequence[bytes]) -> Iterator[int]:
        if self._query.since is not None or self._query.until is not None:
            # Lines lie there nearly in the order of time, so a time leaves most blocks out.
            times = _TIME.findall(block)
            since, until = (self._query.since or "").encode(), (self._query.until or "~").encode()
            if not times or max(times) < since or min(times) >= until:
                return iter(())
        # An event that has a text has its JSON in its line, since lines are canonical. The rarest decides.
        needles = [[_needle(value) for value in values] for values in self._wanted.values()]
        rarest = min(needles, key=lambda some: sum(map(block.count, some)), default=None)
        if rarest is not None and sum(map(block.count, rarest)) * _RARE < len(lines):
            return self._with(rarest, lines)
        table = _table(block, len(lines))
        if table is None:
            return self._one_by_one(lines)
        return iter(_where(table, self._wanted, self._query))

    def _with(self, needles: Sequence[bytes], lines: Sequence[bytes]) -> Iterator[int]:
        for at, line in enumerate(lines):
            if any(needle in line for needle in needles):
                record = event_of(line)
                if record is None:
                    self.unread += 1
                elif self._matcher.matches(record):
                    yield at

    def _one_by_one(self, lines: Sequence[bytes]) -> Iterator[int]:
        for at, line in enumerate(lines):
            record = event_of(line)
            if record is None:
                self.unread += 1
            elif self._matcher.matches(record):
                yield at


def _needle(value: str | int) -> bytes:
    # What is no text (bytes of a command line that are no UTF-8) is in no line, as the bytes that these would be.
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogateescape")


def _arrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise ExtraMissing(
            "PyArrow is not installed",
            where="audit search",
            remedy="install secure-xcom[dataframe] where the access log is searched",
        ) from None
    return pa


def _schema() -> pa.Schema:
    pa = _arrow()
    text = pa.string()
    coordinate = [("dag_id", text), ("run_id", text), ("task_id", text), ("map_index", pa.int64()), ("key", text)]
    names = ("time", "action", "outcome", "error", "compartment", "host", "operator", "id", "chain")
    return pa.schema(
        [(name, text) for name in names]
        + [("producer", pa.struct(coordinate)), ("consumer", pa.struct(coordinate[:-1]))]
    )


def _table(block: bytes, count: int) -> pa.Table | None:
    """The block's columns, or None where they are not those of so many lines."""
    pa = _arrow()
    from pyarrow import json as reader

    try:
        table = reader.read_json(
            pa.BufferReader(block),
            read_options=reader.ReadOptions(block_size=max(len(block), 1)),
            parse_options=reader.ParseOptions(explicit_schema=_schema(), unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    return table if table.num_rows == count else None


def _where(table: pa.Table, wanted: Any, query: Query) -> list[int]:
    """The numbers of the rows that match."""
    pa = _arrow()
    from pyarrow import compute

    masks = []
    for path, values in wanted.items():
        column = table.column(path[0])
        for part in path[1:]:
            column = compute.struct_field(column, part)
        masks.append(compute.is_in(column, value_set=pa.array(values)))
    if query.since is not None:
        masks.append(compute.greater_equal(table.column("time"), query.since))
    if query.until is not None:
        masks.append(compute.less(table.column("time"), query.until))
    mask = compute.is_valid(table.column("time"))
    for one in masks:
        mask = compute.and_(mask, compute.fill_null(one, False))
    found: list[int] = compute.indices_nonzero(mask).to_pylist()
    return found

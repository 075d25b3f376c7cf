"""Compare many lines with a query: PyArrow parses blocks of lines into columns, and only matches are kept.

Memory is bounded by one block. A block with a line that PyArrow cannot parse (half-written, damaged) is parsed
line by line instead, so that one bad line hides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from secure_xcom.core.errors import ExtraMissing
from secure_xcom.core.event_fields import python_type, schema_of
from secure_xcom.ops.audit_trail.entries import event_of
from secure_xcom.ops.audit_trail.pieces import BLOCK_BYTES, TIME, Source
from secure_xcom.ops.audit_trail.search.query import PATHS, Matcher, Query
from secure_xcom.sinks.hashed_ids import IdHasher

if TYPE_CHECKING:
    import pyarrow as pa

# Where fewer than one line in this many can match, lines are found by their text and parsed one by one.
_RARE = 20


class Hit(NamedTuple):
    """An event that matches, with its file or object and its line."""

    record: dict[str, Any]
    place: str
    line: int


class Scan:
    """One search.

    :ivar lines: how many lines were read; :ivar unread: how many of them are not events.
    :ivar empty: the sinks that hold nothing, as a sink does whose URI was mistyped.
    :param progress: called with the sink's URI, the bytes read so far, and all its bytes.
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
        """Return the matching events, each sink oldest first.

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
                    for index in self._matching(block, lines):
                        record = event_of(lines[index])
                        if record is None:
                            self.unread += 1
                        else:
                            yield Hit(record, piece.place, number + index)
                done += piece.size
                if self._progress is not None:
                    self._progress(source.uri, done, total)

    def _matching(self, block: bytes, lines: Sequence[bytes]) -> Iterator[int]:
        if self._query.since is not None or self._query.until is not None:
            # Lines are nearly in order of time, so a time excludes most blocks.
            times = TIME.findall(block)
            since, until = (self._query.since or "").encode(), (self._query.until or "~").encode()
            if not times or max(times) < since or min(times) >= until:
                return iter(())
        # Lines are canonical, so an event that holds a value has the value's JSON in its line. The rarest value
        # of the query decides how the block is searched.
        needles = [[_needle(value) for value in values] for values in self._wanted.values()]
        rarest = min(needles, key=lambda texts: sum(map(block.count, texts)), default=None)
        if rarest is not None and sum(map(block.count, rarest)) * _RARE < len(lines):
            return self._one_by_one(lines, rarest)
        table = _table(block, len(lines))
        if table is None:
            return self._one_by_one(lines, ())
        return iter(_where(table, self._wanted, self._query))

    def _one_by_one(self, lines: Sequence[bytes], needles: Sequence[bytes]) -> Iterator[int]:
        """Return the indexes of the matching lines, of those only that hold one of the texts if there are any."""
        for index, line in enumerate(lines):
            if needles and not any(needle in line for needle in needles):
                continue
            record = event_of(line)
            if record is None:
                self.unread += 1
            elif self._matcher.matches(record):
                yield index


def _needle(value: str | int) -> bytes:
    # An argument that is not valid UTF-8 becomes bytes that occur in no line.
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
    """Return the Arrow schema of the fields that a query can compare."""
    pa = _arrow()
    arrow_types = {str: pa.string(), int: pa.int64()}
    columns: dict[str, Any] = {}
    structs: dict[str, list[tuple[str, Any]]] = {}
    for path in (("time",), *PATHS):
        arrow_type = arrow_types[python_type(schema_of(path))]
        if len(path) == 1:
            columns[path[0]] = arrow_type
        else:
            structs.setdefault(path[0], []).append((path[1], arrow_type))
    return pa.schema([*columns.items(), *((name, pa.struct(parts)) for name, parts in structs.items())])


def _table(block: bytes, count: int) -> pa.Table | None:
    """Return the block's columns, or None where PyArrow cannot parse every line."""
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
    """Return the indexes of the matching rows."""
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
    for condition in masks:
        mask = compute.and_(mask, compute.fill_null(condition, False))
    rows: list[int] = compute.indices_nonzero(mask).to_pylist()
    return rows

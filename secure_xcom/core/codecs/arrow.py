"""Arrow tables and polars frames, as Arrow's IPC stream.

https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from secure_xcom.core.codecs.arrow_size import unfolded

if TYPE_CHECKING:
    import pyarrow as pa
    from typing_extensions import Buffer

KIND = b"secure_xcom"
"""The name in the schema's metadata under which a codec keeps what Arrow has no place for."""

PICTURE_ROWS = 1_000
"""How many rows of a frame masks and the preview see, at the most."""

PICTURE_BYTES = 16 << 20
"""And how much of a column: a thousand cells can hold all that there is, and become far more in Python."""


def written(table: pa.Table) -> list[Buffer]:
    """Return a table as the buffers of an IPC stream."""
    import pyarrow as pa

    sink = _Sink()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.buffers


def read(data: bytes) -> pa.Table:
    """Return the table of an IPC stream, over the stream's own memory."""
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        table = reader.read_all()
    # Whoever pushed chose the bytes, and Arrow follows offsets without a look: past the end of the memory, too.
    table.validate(full=True)
    return table


class _Sink(io.RawIOBase):
    """Keeps what Arrow writes, in the pieces in which it writes it."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        # Bytes, or for a column Arrow's own buffer over the table's memory: a copy costs more than sealing it.
        self.buffers.append(piece)
        return memoryview(piece).nbytes


class TableCodec:
    """``pyarrow.Table`` and ``pyarrow.RecordBatch``."""

    types = ("pyarrow.lib.Table", "pyarrow.lib.RecordBatch")

    def encode(self, value: Any) -> Sequence[Buffer] | None:
        """Return the IPC stream. Of a batch, its schema says that it is one."""
        import pyarrow as pa

        if KIND in (value.schema.metadata or {}):
            return None
        if isinstance(value, pa.RecordBatch):
            table = pa.Table.from_batches([value])
            return written(table.replace_schema_metadata({**(value.schema.metadata or {}), KIND: b"batch"}))
        return written(value)

    def decode(self, data: bytes) -> Any:
        """Return the table or batch, over the bytes' own memory."""
        import pyarrow as pa

        table = read(data)
        metadata = dict(table.schema.metadata or {})
        if metadata.pop(KIND, None) is None:
            return table
        table = table.replace_schema_metadata(metadata or None).combine_chunks()
        batches = table.to_batches()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)

    def unfolded(self, data: bytes) -> int:
        """Return what its compressed buffers unfold to."""
        return unfolded(data)

    def picture(self, value: Any) -> object:
        """Return the first rows, by column."""
        columns: dict[str, list[Any]] = {}
        for name, column in zip(value.column_names, value.columns, strict=True):
            rows = seen(len(column), partial(_weight, column))
            # Two columns may have one name.
            columns.setdefault(name, []).extend(column.slice(0, rows).to_pylist())
        return framed("Table", value.num_rows, columns)


class PolarsCodec:
    """``polars.DataFrame`` and ``polars.Series``."""

    types = ("polars.dataframe.frame.DataFrame", "polars.series.series.Series")

    def encode(self, value: Any) -> Sequence[Buffer] | None:
        """Return the IPC stream as polars writes it, None where a column holds Python objects."""
        import polars as pl

        frame = value.to_frame() if isinstance(value, pl.Series) else value
        if any(dtype == pl.Object for dtype in frame.dtypes):
            return None
        kind = b"S" if isinstance(value, pl.Series) else b"F"
        buffer = io.BytesIO(kind)
        buffer.seek(len(kind))
        with _without_panic():
            frame.write_ipc_stream(buffer)
        return [buffer.getbuffer()]

    def decode(self, data: bytes) -> Any:
        """Return the frame or series."""
        import polars as pl

        with _without_panic():
            frame = pl.read_ipc_stream(io.BytesIO(memoryview(data)[1:]))
        return frame.to_series() if data[:1] == b"S" else frame

    def unfolded(self, data: bytes) -> int:
        """Return what its compressed buffers unfold to."""
        return unfolded(memoryview(data)[1:])

    def picture(self, value: Any) -> object:
        """Return the first rows, by column."""
        import polars as pl

        frame = value.to_frame() if isinstance(value, pl.Series) else value
        with _without_panic():
            columns = {}
            for column in frame.head(PICTURE_ROWS).get_columns():
                rows = seen(len(column), partial(_weight_in_polars, column))
                columns[column.name] = column.head(rows).to_list()
            return framed(type(value).__name__, len(value), columns)


def seen(rows: int, weight: Callable[[int], int]) -> int:
    """Return how many of a column's rows the picture has.

    :param weight: how many bytes so many of its first rows have.
    """
    rows = min(rows, PICTURE_ROWS)
    while rows and weight(rows) > PICTURE_BYTES:
        rows //= 2
    return rows


def _weight(column: Any, rows: int) -> int:
    """Return what the first rows of a column have, told without making anything of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    part = column.slice(0, rows)
    if pa.types.is_dictionary(part.type):
        values = [chunk.dictionary for chunk in getattr(part, "chunks", [part])]
        is_text = _is_text(part.type.value_type)
        longest = (
            pc.max(pc.binary_length(dictionary)).as_py() or 0 if is_text else dictionary.nbytes
            for dictionary in values
        )
        # Each row becomes a value of its own.
        return rows * max(longest, default=0)
    return int(part.nbytes) * (rows if _is_shared(part.type) else 1)


def _weight_in_polars(column: Any, rows: int) -> int:
    return int(column.head(rows).estimated_size())


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    return any(
        is_so(kind) for is_so in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    )


def _is_shared(kind: pa.DataType) -> bool:
    """Return whether several rows may be one and the same place in memory."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind) or "_view" in str(kind) or "run_end" in str(kind):
        return True
    return any(_is_shared(kind.field(index).type) for index in range(kind.num_fields))


@contextmanager
def _without_panic() -> Iterator[None]:
    """Turn polars' panics, which are no `Exception`, into one."""
    from polars.exceptions import PanicException

    try:
        yield
    except PanicException:
        # Its text may quote the value.
        raise ValueError("polars gave up") from None


def framed(kind: str, rows: int, columns: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the picture of a frame: what it is, how long, and the beginning of each column."""
    return {kind: {"rows": rows, "columns": {str(name): values for name, values in columns.items()}}}

"""Data frames and series of pandas, as Arrow's IPC stream.

pandas' own notes in Arrow's schema bring most of a frame back. What they lose is kept beside them: which null an
object column has, what its cells are, the frequency of an index. A frame that would still come back changed is
left to Airflow's serialization, which is what takes it without this product.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from secure_xcom.core.codecs.arrow import KIND, PICTURE_ROWS, framed, read, seen, written
from secure_xcom.core.codecs.arrow_size import unfolded

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from typing_extensions import Buffer

# Of these, pandas tells by all of a column's cells, and each comes back from Arrow as it was.
_SIMPLE = frozenset({"string", "bytes", "empty"})
# Cells of other kinds (lists, dicts, decimals, dates) are compared one by one, up to so many.
_CELLS_MAX = 1_000_000


class PandasCodec:
    """``pandas.DataFrame`` and ``pandas.Series``."""

    types = ("pandas.DataFrame", "pandas.core.frame.DataFrame", "pandas.Series", "pandas.core.series.Series")

    def encode(self, value: Any) -> Sequence[Buffer] | None:
        """Return the IPC stream; None where the frame would not come back equal."""
        import pandas as pd
        import pyarrow as pa

        notes: dict[str, Any] = {"type": type(value).__name__, "columns": {}}
        if isinstance(value, pd.Series):
            notes["name"] = value.name
            if not (value.name is None or type(value.name) in (str, int)):
                return None
            value = value.to_frame("value")
        if not self._is_plain(value):
            return None
        frequency = getattr(value.index, "freqstr", None) if value.index.dtype.kind in "mM" else None
        if frequency is not None:
            notes["frequency"] = frequency
        if isinstance(value.columns, pd.RangeIndex):
            notes["range"] = [value.columns.start, value.columns.stop, value.columns.step]
        if value.attrs:
            # Older releases of Arrow leave them out.
            notes["attributes"] = value.attrs
        try:
            table = pa.Table.from_pandas(value)
        except (pa.ArrowException, TypeError, ValueError, KeyError, OverflowError):
            # Cells that Arrow has no type for, or several types in one column.
            return None
        for column_index in range(value.shape[1]):
            if value.dtypes.iloc[column_index].kind == "O" and value.dtypes.iloc[column_index].name == "object":
                note = _note(value.iloc[:, column_index], table.column(column_index))
                if note is None:
                    return None
                notes["columns"][str(column_index)] = note
        table = table.replace_schema_metadata({**table.schema.metadata, KIND: json.dumps(notes).encode()})
        return written(table) if _is_kept(value, table) else None

    def decode(self, data: bytes) -> Any:
        """Return the frame or series, with memory of its own."""
        table = read(data)
        notes = _notes(table)
        frame = _frame(table, notes)
        if "frequency" in notes:
            frame.index.freq = notes["frequency"]  # type: ignore[attr-defined]  # of an index of times
        return frame["value"].rename(notes["name"]) if notes["type"] == "Series" else frame

    def unfolded(self, data: bytes) -> int:
        """Return what its compressed buffers unfold to."""
        return unfolded(data)

    def picture(self, value: Any) -> object:
        """Return the first rows, by column; what names its rows and columns, by level; and its attributes."""
        import pandas as pd

        name = type(value).__name__
        if isinstance(value, pd.Series):
            # Under its own name, which says whether it is secret.
            frame = value.to_frame(value.name if type(value.name) is str else "value")
        else:
            frame = value
        head = frame.iloc[:PICTURE_ROWS]
        picture = framed(
            name,
            len(frame),
            {label: _seen(head.iloc[:, column_index]) for column_index, label in enumerate(head.columns)},
        )
        for part, index in (("index", head.index), ("column_levels", frame.columns[:PICTURE_ROWS])):
            # Numbers in order name nothing; and a series has one column, which it names already.
            if index.nlevels > 1 or index.names[0] is not None or (part == "index" and not _is_range(index)):
                picture[name][part] = {
                    f"level {level}" if label is None else label: _seen(index.get_level_values(level).to_series())
                    for level, label in enumerate(index.names)
                }
        if frame.attrs:
            picture[name]["attributes"] = frame.attrs
        return picture

    @staticmethod
    def _is_plain(frame: pd.DataFrame) -> bool:
        """Return whether its columns' and rows' names and its attributes are what pandas' notes in Arrow keep."""
        import pandas as pd

        if not frame.columns.is_unique or (len(frame) and not len(frame.columns)):
            return False
        for index in (frame.index, frame.columns):
            levels = index.levels if isinstance(index, pd.MultiIndex) else [index]
            for level in levels:
                if level.dtype == object and (
                    pd.api.types.infer_dtype(level, skipna=False) not in ("string", "empty") or level.hasnans
                ):
                    return False
            if any(not (name is None or type(name) is str) for name in index.names):
                return False
        try:
            return not frame.attrs or bool(json.loads(json.dumps(frame.attrs)) == frame.attrs)
        except (TypeError, ValueError):
            return False


def _is_kept(frame: pd.DataFrame, table: pa.Table) -> bool:
    """Return whether dtypes and indexes come back, tried without the rows."""
    import pandas as pd

    back, empty = _frame(table.slice(0, 0), _notes(table)), frame.iloc[:0]
    return (
        back.columns.equals(empty.columns)
        and back.columns.dtype == empty.columns.dtype
        and back.columns.names == empty.columns.names
        and list(back.dtypes) == list(empty.dtypes)
        # A range of rows is kept by its bounds and name, and without rows there is none to see.
        and (
            isinstance(empty.index, pd.RangeIndex)
            or (back.index.names == empty.index.names and _dtypes(back.index) == _dtypes(empty.index))
        )
    )


def _note(column: pd.Series, array: pa.ChunkedArray) -> list[str | None] | None:
    """Return how to rebuild a column of Python objects from its array: whole or cell by cell, and with which null.

    None where it would come back changed.
    """
    import pandas as pd

    empty = column[column.isna()]
    nulls = {"none" if cell is None else "nan" if type(cell) is float else "other" for cell in empty}
    if len(nulls) > 1 or "other" in nulls:
        return None
    null = next(iter(nulls), None)
    if pd.api.types.infer_dtype(column, skipna=True) in _SIMPLE:
        return ["whole", null]
    if len(column) > _CELLS_MAX:
        return None
    # Compared as text, which tells 1 from 1.0 and True, and a list from a tuple.
    return ["cells", null] if repr(_cells(array, "cells", null)) == repr(column.tolist()) else None


def _cells(array: pa.ChunkedArray, how: str, null: str | None) -> list[Any]:
    """Return a column's cells, each with the type and null that it had in pandas."""
    cells = array.to_numpy(zero_copy_only=False).tolist() if how == "whole" else array.to_pylist()
    return [float("nan") if cell is None else cell for cell in cells] if null == "nan" else cells


def _notes(table: pa.Table) -> dict[str, Any]:
    notes: dict[str, Any] = json.loads(table.schema.metadata[KIND])
    return notes


def _frame(table: pa.Table, notes: dict[str, Any]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    frame: pd.DataFrame = table.to_pandas()
    for column_index, (how, null) in notes["columns"].items():
        # An array of objects is filled by hand: numpy would make a second dimension of lists.
        cells = np.empty(len(frame), dtype=object)
        for row, cell in enumerate(_cells(table.column(int(column_index)), how, null)):
            cells[row] = cell
        frame.isetitem(int(column_index), pd.Series(cells, index=frame.index, dtype=object))
    frame.attrs = notes.get("attributes", {})
    if "range" in notes:
        start, stop, step = notes["range"]
        frame.columns = pd.RangeIndex(start, stop, step, name=frame.columns.name)
    return frame


def _is_range(index: pd.Index) -> bool:
    """Return whether an index only counts."""
    import pandas as pd

    return isinstance(index, pd.RangeIndex) or (index.dtype.kind in "iu" and index.name is None)


def _seen(column: pd.Series) -> list[Any]:
    """Return as many of a column's cells as the picture has."""
    import pandas as pd

    # Of other types there are objects already, or numbers.
    if isinstance(column.dtype, (pd.StringDtype, pd.ArrowDtype)):
        column = column.iloc[: seen(len(column), partial(_weight, column))]
    return column.tolist()


def _weight(column: pd.Series, rows: int) -> int:
    return column.iloc[:rows].nbytes


def _dtypes(index: pd.Index) -> list[Any]:
    return [level.dtype for level in getattr(index, "levels", [index])]

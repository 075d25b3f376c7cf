"""Events as rows of a CSV, JSON Lines or Parquet file."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from secure_xcom.core.errors import ExtraMissing
from secure_xcom.core.event_fields import FIELDS, python_type
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.ops.audit_trail.search.scan import Hit

# Of `asked` any part may be absent, so it is one column of JSON, as lists are.
_FLATTENED = ("producer", "consumer", "task")


def _columns() -> Iterator[tuple[str, type]]:
    for name, field in FIELDS.items():
        value_type = python_type(field.schema)
        if name in _FLATTENED:
            yield from ((f"{name}_{part}", part_type) for part, part_type in value_type.items())
        else:
            yield name, value_type if isinstance(value_type, type) else str


COLUMNS: dict[str, type] = dict(_columns())
"""Column of an export -> type of its cells. Lists, and `asked`, are JSON text in one column."""

FORMATS = ("csv", "jsonl", "parquet")

# The characters that make a spreadsheet run a cell as a formula (OWASP, "CSV Injection"), their full-width forms,
# and the quote itself, so that removing one quote restores the text.
_RUN_BY_SPREADSHEETS = re.compile(r"[\t\r\n']|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_BATCH = 10_000


def row(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as one row with a cell for each of `COLUMNS`; None where the event has no such field."""
    flat: dict[str, Any] = dict.fromkeys(COLUMNS)
    for name, value in record.items():
        if name in _FLATTENED and isinstance(value, dict):
            flat |= {f"{name}_{part}": cell for part, cell in value.items() if f"{name}_{part}" in flat}
        elif name in flat:
            flat[name] = json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value
    return flat


def inert(cell: Any) -> Any:
    """Return a cell that no spreadsheet runs: put a single quote before text that starts like a formula.

    DAG authors choose ids, and an auditor opens the export. To restore the text, remove one leading quote. Numbers
    stay numbers.
    """
    return f"'{cell}" if isinstance(cell, str) and _RUN_BY_SPREADSHEETS.match(cell) else cell


def export(hits: Iterable[Hit], form: str, path: Path) -> int:
    """Write events to a new file and return their number.

    :param form: one of `FORMATS`.
    :raises CommandError: the file exists already, or cannot be written.
    :raises ExtraMissing: PyArrow, which writes Parquet, is not installed.
    """
    count = 0
    try:
        with path.open("xb") as file, _writer(form, file) as write:
            for hit in hits:
                write(hit.record)
                count += 1
    except FileExistsError:
        raise CommandError("the file exists already", where=str(path), remedy="choose another path") from None
    except OSError as error:
        raise CommandError(
            f"the file cannot be written ({type(error).__name__})", where=str(path), remedy="choose another path"
        ) from None
    return count


@contextmanager
def _writer(form: str, file: IO[bytes]) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    if form == "jsonl":
        yield lambda record: _line(file, record)
    elif form == "csv":
        import io

        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        # All text is quoted, because some spreadsheets split cells at other characters than the comma.
        writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow([inert(name) for name in COLUMNS])
        yield lambda record: writer.writerow([inert(cell) for cell in row(record).values()])
        text.detach()
    else:
        with _parquet(file) as write:
            yield write


def _line(file: IO[bytes], record: Mapping[str, Any]) -> None:
    text = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    file.write(text.encode() + b"\n")


@contextmanager
def _parquet(file: IO[bytes]) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ExtraMissing(
            "PyArrow is not installed",
            where="audit export",
            remedy="install secure-xcom[dataframe] where Parquet files are written, or export .csv or .jsonl",
        ) from None

    arrow_types = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
    schema = pa.schema([(name, arrow_types[cell_type]) for name, cell_type in COLUMNS.items()])
    batch: list[dict[str, Any]] = []
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:

        def write(record: Mapping[str, Any]) -> None:
            batch.append(row(record))
            if len(batch) == _BATCH:
                writer.write_table(pa.Table.from_pylist(batch, schema))
                batch.clear()

        yield write
        writer.write_table(pa.Table.from_pylist(batch, schema))

"""Events as rows: for CSV and Parquet, and the few columns that people look at."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from secure_xcom.core.errors import CommandError
from secure_xcom.ops.audit_trail.search.scan import Hit

_COORDINATE = ("dag_id", "run_id", "task_id", "map_index", "key")
_TRY = ("dag_id", "run_id", "task_id", "map_index", "try_number")
_NUMBERS = ("version", "size", "pid", "sequence")
COLUMNS = (
    *("time", "action", "outcome", "error", "compartment", "rule"),
    *(f"producer_{name}" for name in _COORDINATE),
    *(f"consumer_{name}" for name in _TRY),
    *(f"task_{name}" for name in _TRY),
    *(
        "keys",
        "opened_by",
        "object",
        "size",
        "codec",
        "cache_hit",
        "policy",
        "policy_before",
        "operator",
        "reason",
    ),
    *("asked", "missed", "host", "pid", "release", "version", "id", "chain", "sequence", "previous"),
)
"""The columns of an export. Lists and the question asked are JSON in one column."""

FORMATS = ("csv", "jsonl", "parquet")

# What makes a spreadsheet run a cell instead of showing it (OWASP, "CSV Injection"), the full-width signs that
# some take for the same, and the quote itself, so that taking one quote away gives the text back.
_RUN_BY_SPREADSHEETS = re.compile(r"[\t\r\n']|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_BATCH = 10_000


def row(record: Mapping[str, Any]) -> dict[str, Any]:
    """An event as one row, each of `COLUMNS`; what it does not have is None."""
    flat: dict[str, Any] = dict.fromkeys(COLUMNS)
    for name, value in record.items():
        if name in ("producer", "consumer", "task") and isinstance(value, dict):
            flat |= {f"{name}_{part}": found for part, found in value.items() if f"{name}_{part}" in flat}
        elif name in flat:
            flat[name] = json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value
    return flat


def inert(cell: Any) -> Any:
    """A cell that no spreadsheet runs: a text that begins as a formula does gets a single quote before it.

    Ids are chosen by whoever writes DAGs, and an auditor opens the export. To have the text back, take one leading
    quote away. Numbers stay numbers.
    """
    return f"'{cell}" if isinstance(cell, str) and _RUN_BY_SPREADSHEETS.match(cell) else cell


def export(hits: Iterable[Hit], form: str, path: Path) -> int:
    """Write events to a new file; how many.

    :param form: of `FORMATS`.
    :raises CommandError: the file is there already, or cannot be written.
    """
    count = 0
    try:
        with path.open("xb") as file, _writer(form, file) as write:
            for hit in hits:
                write(hit.record)
                count += 1
    except FileExistsError:
        raise CommandError("there is a file already", where=str(path), remedy="choose another path") from None
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
        # Every text is quoted, because some spreadsheets begin a cell at other signs than the comma.
        made = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
        made.writerow([inert(name) for name in COLUMNS])
        yield lambda record: made.writerow([inert(cell) for cell in row(record).values()])
        text.detach()
    else:
        with _parquet(file) as write:
            yield write


def _line(file: IO[bytes], record: Mapping[str, Any]) -> None:
    text = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    file.write(text.encode() + b"\n")


@contextmanager
def _parquet(file: IO[bytes]) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    import pyarrow as pa
    from pyarrow import parquet

    def kind(name: str) -> Any:
        if name in _NUMBERS or name.endswith(("_map_index", "_try_number")):
            return pa.int64()
        return pa.bool_() if name == "cache_hit" else pa.string()

    schema = pa.schema([(name, kind(name)) for name in COLUMNS])
    batch: list[dict[str, Any]] = []
    with parquet.ParquetWriter(file, schema, compression="zstd") as made:

        def write(record: Mapping[str, Any]) -> None:
            batch.append(row(record))
            if len(batch) == _BATCH:
                made.write_table(pa.Table.from_pylist(batch, schema))
                batch.clear()

        yield write
        made.write_table(pa.Table.from_pylist(batch, schema))

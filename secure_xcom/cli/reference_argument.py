"""Find the reference that ``secure-xcom inspect`` shows: an argument, a file, standard input, or a row."""

from __future__ import annotations

import json
import os
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_xcom.cli import output
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.operator_errors import CommandError

if TYPE_CHECKING:
    from secure_xcom.ops.stored_row import StoredRow

# A reference has at most 64 KiB of inline payload, in base64, and a few KiB of the rest.
_TEXT_MAX_CHARACTERS = 1 << 20
# A key may hold slashes and colons, a run_id colons; Airflow lets no other id have either.
_COORDINATE = re.compile(
    r"(?P<dag_id>[^/]+)/(?P<run_id>[^/]+)/(?P<task_id>[^/:\[\]]+)(\[(?P<map_index>[0-9]{1,10})\])?(:(?P<key>.+))?"
)


def find(what: str, db: str | None, attempt: str | None = None) -> tuple[Any, str, StoredRow | None]:
    """Return the value, where it was found, and its row if it was read from one.

    :param what: JSON text, the path of a file, ``-``, or a coordinate.
    :param attempt: with a coordinate, the UUID of the task instance that is meant.
    :param db: SQLAlchemy URL for a coordinate; None for Airflow's own.
    :raises CommandError: it is none of these, or cannot be read, or there is no such row.
    :raises ReferenceMalformed: the row has the tag of a reference but cannot be one.
    :raises MaintenanceError: no metadata database is known, or it does not answer.
    """
    if what == "-":
        return _json(output.stdin_text(_TEXT_MAX_CHARACTERS), "standard input"), "standard input", None
    if what.lstrip().startswith(("{", '"')):
        return _json(what, "the argument"), "the argument", None
    path = Path(what)
    if os.path.isfile(path):
        return _json(_read(path), what), what, None
    from secure_xcom.ops.jobs.eligible_rows import value_of

    coordinate = coordinate_of(what)
    if coordinate is None:
        raise CommandError(
            "neither JSON, nor a file, nor a coordinate",
            where=what[:200],
            remedy="give a reference as JSON, a file's path, - for standard input, or DAG/RUN/TASK[MAP_INDEX]:KEY",
        )
    row = _row(db, coordinate, attempt)
    return value_of(row), str(coordinate), row


def coordinate_of(what: str) -> Coordinate | None:
    """Return the coordinate that ``DAG/RUN/TASK[MAP_INDEX]:KEY`` names; None for a text of another form.

    :raises CoordinateInvalid: an id cannot be one.
    """
    form = _COORDINATE.fullmatch(what)
    if form is None:
        return None
    return Coordinate(
        form["dag_id"],
        form["run_id"],
        form["task_id"],
        -1 if form["map_index"] is None else int(form["map_index"]),
        form["key"] or "return_value",
    )


def _row(db: str | None, coordinate: Coordinate, attempt: str | None) -> StoredRow:
    from secure_xcom.ops.xcom_table import Database, database_url

    with closing(Database(db or database_url())) as database:
        row = database.at(coordinate, attempt)
    if row is None:
        raise CommandError(
            "there is no such XCom",
            where=str(coordinate),
            remedy="look up its ids in Airflow's XCom tab, or name the database with --db",
        )
    return row


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_TEXT_MAX_CHARACTERS)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(
            f"the file cannot be read ({type(error).__name__})", where=str(path), remedy="check the path"
        ) from None


def _json(text: str, where: str) -> Any:
    """Parse one JSON document strictly: a repeated field would be ambiguous."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) != len(pairs):
            raise CommandError("a field is repeated in one object", where=where, remedy="find out who wrote it")
        return record

    try:
        value = json.loads(text, object_pairs_hook=once)
        # A reference that was copied as JSON text has another layer of quotes.
        layered = isinstance(value, str) and value.lstrip().startswith("{")
        return json.loads(value, object_pairs_hook=once) if layered else value
    except json.JSONDecodeError as error:
        # The message names a position, never the text there.
        raise CommandError(
            f"no JSON at line {error.lineno}, column {error.colno}", where=where, remedy="copy the whole value"
        ) from None
    except ValueError:
        raise CommandError("a number has too many digits", where=where, remedy="copy the whole value") from None
    except RecursionError:
        raise CommandError("nested too deeply", where=where, remedy="give one reference") from None

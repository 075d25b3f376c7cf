"""``secure-xcom inspect``: show the content of a reference without any key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_xcom.cli import options, output
from secure_xcom.ops.deep_values import is_deep

if TYPE_CHECKING:
    from secure_xcom.core.reference import Head, Reference
    from secure_xcom.ops.stored_row import StoredRow

_NOT_VERIFIED = (
    "Nothing here is verified: the head is authenticated only when the payload is opened with the data key, and "
    "the preview is for people: it is not authenticated and never read back."
)
# Shows the service and the version of the wrapping key, and nothing of use.
_WRAPPED_SHOWN = 12
# Previews have fewer than 20 levels; a row that somebody else wrote may nest deeper than can be printed.
_LEVELS_MAX = 64


def inspect(
    what: Annotated[
        str,
        typer.Argument(
            metavar="REFERENCE|COORD|-",
            help="A reference as JSON text, the path of a file that holds one, - for standard input, or "
            "DAG/RUN/TASK[MAP_INDEX]:KEY to read the row from Airflow's metadata database.",
        ),
    ],
    db: Annotated[
        str | None,
        typer.Option(
            envvar="SECURE_XCOM_DB",
            metavar="URL",
            help="SQLAlchemy URL of the metadata database, by default Airflow's own. If the URL has a "
            "password, set the environment variable instead: other users can see the arguments of a process.",
        ),
    ] = None,
    attempt: options.Attempt = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the content of a reference without any key."""
    from secure_xcom.cli import reference_argument
    from secure_xcom.core import reference
    from secure_xcom.core.errors import PlaintextRefused, ReferenceMalformed, ReferenceRefused

    try:
        value, source, row = reference_argument.find(what, db, None if attempt is None else str(attempt))
        if not reference.is_reference(value):
            # A plaintext value may be a secret, so it is not shown.
            raise PlaintextRefused("this value is not a reference: it is stored in plaintext", where=source)
        parsed = reference.parse(value)
        if is_deep(value, _LEVELS_MAX):
            raise ReferenceMalformed(f"it is nested more than {_LEVELS_MAX} levels deep", where=source)
    except ReferenceRefused as error:
        output.show_error(error, as_json=as_json)
        raise typer.Exit(output.FOUND_SOMETHING) from None
    moved = row is not None and _is_moved(row, parsed.head)
    record = _record(parsed, value, row, moved)
    if as_json:
        output.show_json(record)
    else:
        _show(record)
    raise typer.Exit(output.FOUND_SOMETHING if moved else output.FINE)


def _is_moved(row: StoredRow, head: Head) -> bool:
    from secure_xcom.core.errors import CoordinateMismatch
    from secure_xcom.ops.jobs.eligible_rows import check_row

    try:
        check_row(row, head)
    except CoordinateMismatch:
        return True
    return False


def _record(parsed: Reference, value: Any, row: StoredRow | None, moved: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        "coordinate": str(parsed.head.coordinate),
        "head": parsed.head.dump(),
        "keys": [{"uri": key.uri, "wrapped": shortened(key.wrapped)} for key in parsed.keys],
        "sealed_bytes": parsed.size,
        "inline": parsed.payload is not None,
        "reference_bytes": len(json.dumps(value)),
        "verified": False,
        "preview_for_people": value.get("preview"),
    }
    if row is not None:
        record["row"] = row.where
        record["belongs_to_this_row"] = not moved
    return record


def shortened(wrapped: str) -> str:
    """Return the beginning of a wrapped data key, too short to be of use, and its length."""
    return f"{wrapped[:_WRAPPED_SHOWN]}… ({len(wrapped)} characters)"


def _show(record: dict[str, Any]) -> None:
    out = output.console()

    def line(name: str, value: object, style: str | None = None) -> None:
        out.print(f"{name:<15} {output.clean(value)}", style=style, soft_wrap=True)

    line("coordinate", record["coordinate"], "bold")
    if "row" in record:
        line("row", record["row"])
        if not record["belongs_to_this_row"]:
            line("", "this reference belongs to another row: a pull is refused (CoordinateMismatch)", "bold red")
    for name, value in record["head"].items():
        if name not in ("dag_id", "run_id", "task_id", "map_index", "key"):
            line(name, value)
    for key in record["keys"]:
        line("key", f"{key['uri']}  {key['wrapped']}")
    place = "in this reference" if record["inline"] else "in the store"
    line("payload", f"{record['sealed_bytes']} bytes sealed, {place}")
    line("reference", f"{record['reference_bytes']} bytes")
    out.print("preview, for people:")
    text = json.dumps(record["preview_for_people"], indent=2, ensure_ascii=False)
    for part in text.split("\n"):
        out.print(f"  {output.clean(part)}", soft_wrap=True)
    out.print(_NOT_VERIFIED, style="yellow", soft_wrap=True)

"""``secure-xcom audit export``: events into a file for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit import progress
from secure_xcom.cli.audit.filters import Filters, filtered
from secure_xcom.cli.audit.place import Place, SinkOption


@filtered
def export(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="A new file that ends in .csv, .jsonl or .parquet.")
    ],
    filters: Filters,
    sink: SinkOption = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Write all events that match to a CSV, JSON Lines or Parquet file, in bounded memory."""
    from secure_xcom.audit.search import writing
    from secure_xcom.audit.search.scanning import Scan
    from secure_xcom.errors import CommandError

    form = out.suffix.removeprefix(".")
    if form not in writing.FORMATS:
        raise CommandError(
            "the file's name does not say its format", where=str(out), remedy="end it in .csv, .jsonl or .parquet"
        )
    place = Place(config, sinks=sink)
    hasher = filters.hasher(place)
    with progress.shown(wanted=not as_json) as tell:
        scan = Scan(place.sources(), filters.query(), hasher, tell)
        count = writing.export(scan.hits(), form, out)
    if as_json:
        output.show_json(
            {"events": count, "file": str(out), "lines": scan.lines, "unread": scan.unread, "empty": scan.empty}
        )
    else:
        print(f"{count} events of {scan.lines} lines written to {out}")
        output.nothing_there(scan.empty)

"""``secure-xcom audit export``: write events to a file for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit import progress_bar
from secure_xcom.cli.audit.filters import Filters, filtered
from secure_xcom.cli.audit.index import IndexOption, NoIndexOption, searched
from secure_xcom.cli.audit.locations import Place, SinkOption


@filtered
def export(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="New file that ends in .csv, .jsonl or .parquet.")
    ],
    filters: Filters,
    index_file: IndexOption = None,
    no_index: NoIndexOption = False,
    sink: SinkOption = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Write all matching events to a CSV, JSON Lines or Parquet file, with bounded memory use."""
    from secure_xcom.core.operator_errors import CommandError
    from secure_xcom.ops.audit_trail.search import export as search_export
    from secure_xcom.ops.audit_trail.search.scan import Scan

    form = out.suffix.removeprefix(".")
    if form not in search_export.FORMATS:
        raise CommandError(
            "the file name does not end in a known extension",
            where=str(out),
            remedy="use .csv, .jsonl or .parquet",
        )
    place = Place(config, sinks=sink)
    hasher = filters.hasher(place)
    with progress_bar.shown(wanted=not as_json) as tell, searched(index_file, without=no_index) as opened:
        scan = Scan(place.sources(), filters.query(), hasher, tell, opened)
        count = search_export.export(scan.hits(), form, out)
    if as_json:
        output.show_json(
            {"events": count, "file": str(out), "lines": scan.lines, "unread": scan.unread, "empty": scan.empty}
        )
    else:
        print(f"{count} events of {scan.lines} lines written to {out}")
        output.nothing_there(scan.empty)

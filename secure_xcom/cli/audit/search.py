"""``secure-xcom audit search``: find who read an XCom, what a task read, what was refused."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit import progress_bar
from secure_xcom.cli.audit.filters import Filters, filtered
from secure_xcom.cli.audit.index import IndexOption, NoIndexOption, searched
from secure_xcom.cli.audit.locations import Place, SinkOption

if TYPE_CHECKING:
    from secure_xcom.ops.audit_trail.search.scan import Hit


@filtered
def search(
    filters: Filters,
    limit: Annotated[
        int, typer.Option(min=1, help="Maximum number of events; `audit export` has no limit.")
    ] = 1000,
    index_file: IndexOption = None,
    no_index: NoIndexOption = False,
    sink: SinkOption = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the events that match all filters, oldest first.

    Who read an XCom: --dag, --task, --xcom-key and --action pull. What a task read: --consumer DAG_ID/TASK_ID.
    What was refused: --outcome refused.
    """
    from secure_xcom.ops.audit_trail.search.scan import Scan

    place = Place(config, sinks=sink)
    hasher = filters.hasher(place)
    with progress_bar.shown(wanted=not as_json) as tell, searched(index_file, without=no_index) as opened:
        scan = Scan(place.sources(), filters.query(), hasher, tell, opened)
        hits = list(islice(scan.hits(), limit + 1))
    more, hits = len(hits) > limit, hits[:limit]
    if as_json:
        events = [{"event": hit.record, "place": hit.place, "line": hit.line} for hit in hits]
        output.show_json(
            {"events": events, "more": more, "lines": scan.lines, "unread": scan.unread, "empty": scan.empty}
        )
    else:
        _show(hits)
        ends = ", and more (--limit)" if more else ""
        print(
            f"{len(hits)} events{ends}; {scan.lines} lines searched, {scan.unread} that were read are not events"
        )
        output.nothing_there(scan.empty)


def _show(hits: Sequence[Hit]) -> None:
    from rich.table import Table

    from secure_xcom.core.event_text import by, xcom

    table = Table(box=None, pad_edge=False)
    for name in ("time", "action", "outcome", "XCom", "by", "compartment"):
        table.add_column(name, overflow="fold")
    for hit in hits:
        record = hit.record
        error = f" ({record['error']})" if record.get("error") else ""
        cells = (
            record.get("time"),
            record.get("action"),
            f"{record.get('outcome')}{error}",
            xcom(record),
            by(record),
            record.get("compartment"),
        )
        table.add_row(*(output.clean("" if cell is None else cell) for cell in cells))
    if hits:
        output.table_console().print(table)

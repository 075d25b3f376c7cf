"""``secure-xcom audit export``: events into a file for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import output
from secure_xcom.cli.audit import filters, progress
from secure_xcom.cli.audit.place import ConfigOption, JsonOption, Place, SinkOption


def export(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="A new file that ends in .csv, .jsonl or .parquet.")
    ],
    dag: filters.Dag = None,
    run: filters.Run = None,
    task: filters.Task = None,
    map_index: filters.MapIndex = None,
    xcom_key: filters.XComKey = None,
    compartment: filters.Compartment = None,
    consumer: filters.Consumer = None,
    action: filters.Action = None,
    outcome: filters.Outcome = None,
    error: filters.Error = None,
    operator: filters.Operator = None,
    host: filters.Host = None,
    event: filters.Event = None,
    since: filters.Since = None,
    until: filters.Until = None,
    hash_key: filters.HashKey = None,
    sink: SinkOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
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
    wanted = filters.query(
        dag=dag,
        run=run,
        task=task,
        map_index=map_index,
        xcom_key=xcom_key,
        compartment=compartment,
        consumer=consumer,
        action=action,
        outcome=outcome,
        error=error,
        operator=operator,
        host=host,
        event=event,
        since=since,
        until=until,
    )
    place = Place(config, sinks=sink)
    hasher = filters.hasher(place, hash_key, sinks_named=bool(sink))
    with progress.shown(wanted=not as_json) as tell:
        scan = Scan(place.sources(), wanted, hasher, tell)
        count = writing.export(scan.hits(), form, out)
    if as_json:
        output.show_json(
            {"events": count, "file": str(out), "lines": scan.lines, "unread": scan.unread, "empty": scan.empty}
        )
    else:
        print(f"{count} events of {scan.lines} lines written to {out}")
        output.nothing_there(scan.empty)

"""``secure-xcom audit tail``: show the newest events, and follow new ones."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from heapq import heappush, heapreplace
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit.filters import Filters, filtered
from secure_xcom.cli.audit.locations import Place, SinkOption

if TYPE_CHECKING:
    from secure_xcom.ops.audit_trail.pieces import Source
    from secure_xcom.ops.audit_trail.search.query import Matcher

_PAUSE_SECONDS = 0.5
# How far the clocks of a worker and of its files' host may differ.
_CLOCKS = timedelta(hours=1)


@filtered
def tail(
    filters: Filters,
    count: Annotated[
        int, typer.Option("-n", "--lines", min=0, help="How many of the newest events to show.")
    ] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep showing new events, across rotations (file sinks).")
    ] = False,
    sink: SinkOption = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the newest events that match, one per line; with --json one JSON object per line."""
    from secure_xcom.ops.audit_trail.entries import event_of
    from secure_xcom.ops.audit_trail.search.follow import Followed
    from secure_xcom.ops.audit_trail.search.query import Matcher

    place = Place(config, sinks=sink)
    matcher = Matcher(filters.query(), filters.hasher(place))
    # Files are opened before the newest events are read, so that no event in between is missed.
    followed = [Followed(uri) for uri in place.sinks()] if follow else []
    newest = _newest(place.sources(), matcher, count)
    for record in newest:
        _show(record, as_json=as_json)
    shown = {record.get("id") for record in newest}
    while followed:
        for files in followed:
            for line in files.lines():
                new = event_of(line)
                if new is not None and matcher.matches(new) and new.get("id") not in shown:
                    _show(new, as_json=as_json)
        time.sleep(_PAUSE_SECONDS)


def _newest(sources: Sequence[Source], matcher: Matcher, count: int) -> list[dict[str, Any]]:
    """Return the newest matching events, oldest first.

    They may be in any host's file and any chain's object, so a piece is skipped only if nothing was written to it
    since the oldest match.
    """
    from secure_xcom.core.clock import text_of
    from secure_xcom.ops.audit_trail.entries import event_of

    newest: list[tuple[str, str, dict[str, Any]]] = []
    ids: set[str] = set()
    for piece in (piece for source in sources for piece in reversed(source.pieces()) if count):
        if len(newest) == count and piece.written and text_of(piece.written + _CLOCKS) < newest[0][0]:
            continue
        for line in piece.lines():
            record = event_of(line.data)
            if record is None or not matcher.matches(record):
                continue
            # The same event may be in several sinks.
            identity = f"{record.get('id')} {record.get('chain')} {record.get('sequence')}"
            match = (str(record["time"]), identity, record)
            if identity not in ids and (len(newest) < count or match[:2] > newest[0][:2]):
                ids.add(identity)
                if len(newest) < count:
                    heappush(newest, match)
                else:
                    ids.remove(heapreplace(newest, match)[1])
    return [record for *_, record in sorted(newest, key=itemgetter(0, 1))]


def _show(record: Mapping[str, Any], *, as_json: bool) -> None:
    import json

    from secure_xcom.core.event_text import by, xcom

    if as_json:
        print(json.dumps(record, ensure_ascii=True), flush=True)
        return
    error = f" ({record['error']})" if record.get("error") else ""
    words = f"{record.get('time')} {record.get('action')} {record.get('outcome')}{error} {xcom(record)}"
    who = by(record)
    print(output.clean(f"{words} by {who}" if who else words), flush=True)

"""``secure-xcom audit alarms``: the alarms of the access policy, held against what is new in the access log."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit.place import Place, SinkOption

if TYPE_CHECKING:
    from secure_xcom.access.alarms import When
    from secure_xcom.audit.alarms.rules import Raised
    from secure_xcom.errors import AlarmNotTold


def alarms(
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="What was seen so far. Default: secure_xcom/alarms.json in AIRFLOW_HOME."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell nobody and remember nothing.")] = False,
    sink: SinkOption = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Hold events since the last run against the access policy's alarms, and tell who is to be told.

    Run it often (the maintenance DAG); the first run learns who reads from whom. Exit code 1 where an alarm was
    raised, 2 where one could not be told.
    """
    from secure_xcom.audit.alarms.rules import Evaluator, State
    from secure_xcom.audit.alarms.telling import tell
    from secure_xcom.audit.entries import record_of
    from secure_xcom.audit.sealing import text_of
    from secure_xcom.audit.sources import raw_lines

    place = Place(config, sinks=sink)
    rules = place.deployment.policy().alarms
    path = state or Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser() / "secure_xcom/alarms.json"
    known = State.load(path)
    started = datetime.now(timezone.utc)
    # A line may lie there later than its time says; what was taken before is known by its chain.
    oldest = (
        text_of(datetime.fromisoformat(known.since.replace("Z", "+00:00")) - timedelta(days=1))
        if known.since
        else ""
    )
    evaluator = Evaluator(rules, known)
    found: list[Raised] = []
    for line in raw_lines(place.sources()):
        record = record_of(line.data) if line.whole else None
        if record is not None and str(record.get("time")) >= oldest:
            found += evaluator.take(record)
    failed: list[AlarmNotTold] = []
    if not dry_run:
        by_name = {alarm.name: alarm for alarm in rules}
        for one in found:
            failed += tell(by_name[one.alarm], one)
        known.since = text_of(started)
        known.save(path)
    _show(found, failed, as_json=as_json)


def sound(place: Place, when: When, texts: Sequence[str]) -> list[AlarmNotTold]:
    """Tell the alarms of a kind about what another command has found; what could not be told."""
    from secure_xcom.audit.alarms.rules import Raised
    from secure_xcom.audit.alarms.telling import tell
    from secure_xcom.audit.sealing import text_of

    settings = place.deployment.settings
    if not texts or not settings.access_policy:
        return []
    now = text_of(datetime.now(timezone.utc))
    more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
    return [
        error
        for alarm in place.deployment.policy().alarms
        if alarm.when == when
        for error in tell(alarm, Raised(alarm.name, when, now, f"{texts[0]}{more}"))
    ]


def _show(found: Sequence[Raised], failed: Sequence[AlarmNotTold], *, as_json: bool) -> None:
    if as_json:
        errors = [{"what": error.what, "where": error.where, "remedy": error.remedy} for error in failed]
        output.show_json({"alarms": [one.as_json() for one in found], "not_told": errors})
    else:
        out = output.console()
        for one in found:
            out.print(
                f"{one.alarm} ({one.when}) {one.time}: {output.clean(one.text)}", style="bold red", soft_wrap=True
            )
        for error in failed:
            output.show_error(error, as_json=False)
        print(f"{len(found)} alarms, {len(failed)} not told")
    if failed:
        raise typer.Exit(output.COULD_NOT_RUN)
    raise typer.Exit(output.FOUND_SOMETHING if found else output.FINE)

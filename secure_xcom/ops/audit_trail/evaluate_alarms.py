"""A look at the access log: which alarms its new events raise, who is told, and what is remembered."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from secure_xcom.core import clock
from secure_xcom.core.access_policy.alarms import Alarm, When
from secure_xcom.core.clock import text_of
from secure_xcom.core.errors import AlarmNotTold
from secure_xcom.ops.audit_trail.entries import event_of
from secure_xcom.ops.audit_trail.read import Source, raw_lines
from secure_xcom.sinks.alarms.notifiers import notify
from secure_xcom.sinks.alarms.rules import Evaluator, Raised, State


@dataclass(frozen=True, slots=True)
class AlarmReport:
    """What a look has raised, and what could not be told."""

    raised: tuple[Raised, ...]
    not_told: tuple[AlarmNotTold, ...]


def default_state() -> Path:
    """Where it is remembered unless the caller says: in Airflow's home, for the command and the DAG."""
    return Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser() / "secure_xcom" / "alarms.json"


def evaluate(
    alarms: Sequence[Alarm], sources: Sequence[Source], state: Path, *, dry_run: bool = False
) -> AlarmReport:
    """Hold events since the last look against the rules, and tell who is to be told.

    :param dry_run: tell nobody and remember nothing.
    :raises CommandError: the state cannot be read or kept; :raises AccessLogUnreadable: a source cannot be read.
    """
    known = State.load(state)
    started = clock.now()
    # A line may lie there later than its time says; what was taken before is known by its chain.
    oldest = (
        text_of(datetime.fromisoformat(known.since.replace("Z", "+00:00")) - timedelta(days=1))
        if known.since
        else ""
    )
    evaluator = Evaluator(alarms, known)
    raised: list[Raised] = []
    for line in raw_lines(sources):
        record = event_of(line.data) if line.whole else None
        if record is not None and str(record.get("time")) >= oldest:
            raised += evaluator.take(record)
    raised += evaluator.bursts()
    failed: list[AlarmNotTold] = []
    if not dry_run:
        by_name = {alarm.name: alarm for alarm in alarms}
        for one in raised:
            failed += notify(by_name[one.alarm], one)
        known.since = text_of(started)
        known.save(state)
    return AlarmReport(tuple(raised), tuple(failed))


def sound(alarms: Iterable[Alarm], when: When, texts: Sequence[str]) -> list[AlarmNotTold]:
    """Tell the alarms of a kind about what something else has found; gives what could not be told."""
    if not texts:
        return []
    now = text_of(clock.now())
    more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
    return [
        error
        for alarm in alarms
        if alarm.when == when
        for error in notify(alarm, Raised(alarm.name, when, now, f"{texts[0]}{more}"))
    ]

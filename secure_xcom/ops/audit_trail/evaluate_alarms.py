"""Evaluate the alarm rules on the new events of the access log, and notify people."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from secure_xcom.core import clock
from secure_xcom.core.access_policy.alarms import Alarm, When
from secure_xcom.core.clock import text_of, time_of
from secure_xcom.core.service_errors import AlarmNotTold
from secure_xcom.ops.audit_trail.alarm_windows import Evaluator, State
from secure_xcom.ops.audit_trail.entries import event_of
from secure_xcom.ops.audit_trail.pieces import Source
from secure_xcom.ops.audit_trail.read import raw_lines
from secure_xcom.sinks.alarms.notifiers import notify
from secure_xcom.sinks.alarms.rules import Raised

if TYPE_CHECKING:
    from secure_xcom.deployment import Deployment


@dataclass(frozen=True, slots=True)
class AlarmReport:
    """The alarms that an evaluation raised, and the notifications that failed."""

    raised: tuple[Raised, ...]
    not_told: tuple[AlarmNotTold, ...]


def default_state() -> Path:
    """Return the default state file in Airflow's home, for the command and the maintenance DAG."""
    return Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser() / "secure_xcom" / "alarms.json"


def evaluate(
    alarms: Sequence[Alarm], sources: Sequence[Source], state: Path, *, dry_run: bool = False
) -> AlarmReport:
    """Apply the rules to events since the last evaluation, and notify the rules' targets.

    :param state: the file with the state of the last evaluation.
    :param dry_run: notify nobody and leave the state as it is.
    :raises CommandError: the state cannot be read or written; :raises AccessLogUnreadable: a source cannot be
    read.
    """
    known = State.load(state)
    started = clock.now()
    # An event may be stored later than its time says; its chain tells whether it was evaluated before.
    oldest = text_of(time_of(known.since) - timedelta(days=1)) if known.since else ""
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
        for alarm in raised:
            failed += notify(by_name[alarm.alarm], alarm)
        known.since = text_of(started)
        known.save(state)
    return AlarmReport(tuple(raised), tuple(failed))


def sound(deployment: Deployment, when: When, texts: Sequence[str]) -> list[AlarmNotTold]:
    """Raise the access policy's alarms of a kind for what another command reported.

    :return: the notifications that failed. :raises PolicyInvalid: the access policy cannot be used.
    """
    if not texts or not deployment.settings.access_policy:
        return []
    now = text_of(clock.now())
    more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
    return [
        error
        for alarm in deployment.policy.alarms
        if alarm.when == when
        for error in notify(alarm, Raised(alarm.name, when, now, f"{texts[0]}{more}"))
    ]

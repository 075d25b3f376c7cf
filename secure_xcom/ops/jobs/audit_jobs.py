"""The jobs on the access log, for ``secure-xcom audit`` and the maintenance DAG: evaluate alarms, reconcile."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_xcom.core import clock
from secure_xcom.ops.audit_trail.locations import Locations
from secure_xcom.ops.jobs import audit_options, params
from secure_xcom.ops.jobs.job import Job, JobContext, Report, option, shared

if TYPE_CHECKING:
    from secure_xcom.core.errors import SecureXComError
    from secure_xcom.core.findings import Finding
    from secure_xcom.core.service_errors import AlarmNotTold
    from secure_xcom.ops.audit_trail.reconcile.compare import Compared
    from secure_xcom.sinks.alarms.rules import Raised

log = logging.getLogger(__name__)


# --- alarms -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AlarmOptions:
    """Options of alarms."""

    state: Path | None = option(
        None, "State of the last run. Default: secure_xcom/alarms.json in AIRFLOW_HOME.", metavar="FILE"
    )
    dry_run: bool = option(False, "Notify nobody and leave the state as it is.", "--dry-run")
    sink: list[str] | None = shared(audit_options.SINK, None)


@dataclass(frozen=True)
class RaisedReport(Report):
    """The alarms that were raised, and the notifications that failed."""

    raised: Sequence[Raised]
    not_told: Sequence[AlarmNotTold]

    @property
    def found(self) -> bool:
        """Return whether an alarm was raised."""
        return bool(self.raised)

    @property
    def errors(self) -> Sequence[SecureXComError]:
        """The notifications that failed."""
        return self.not_told

    def record(self) -> dict[str, Any]:
        """See `Report.record`."""
        failed = [{"what": error.what, "where": error.where, "remedy": error.remedy} for error in self.not_told]
        return {"alarms": [alarm.as_json() for alarm in self.raised], "not_told": failed}

    def step_record(self) -> dict[str, Any]:
        """See `Report.step_record`."""
        alarms = [alarm.as_json() for alarm in self.raised]
        return {"raised": len(alarms), "alarms": alarms, "found": self.found}

    def lines(self) -> list[str]:
        """See `Report.lines`."""
        alarms = [f"{alarm.alarm} ({alarm.when}) {alarm.time}: {alarm.text}" for alarm in self.raised]
        return [*alarms, f"{len(alarms)} alarms, {len(self.not_told)} notifications failed"]


def _alarms(context: JobContext, options: AlarmOptions) -> RaisedReport:
    from secure_xcom.ops.audit_trail.evaluate_alarms import default_state, evaluate

    sources = Locations(lambda: context.deployment, sinks=options.sink).sources()
    rules = context.deployment.policy.alarms
    evaluated = evaluate(rules, sources, options.state or default_state(), dry_run=options.dry_run)
    return RaisedReport(evaluated.raised, evaluated.not_told)


def _no_alarms(context: JobContext, _options: AlarmOptions) -> dict[str, Any] | None:
    return None if context.deployment.policy.alarms else {"alarms": "none is set"}


# --- reconcile --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ReconcileOptions:
    """Options of reconcile. The maintenance DAG names one file or folder of each kind."""

    vault_log: list[Path] | None = option(
        None, "Log of a Vault file audit device. Can be repeated.", metavar="FILE", param=params.VAULT_LOG
    )
    device: str = option("file", "The audit device's path in Vault.", metavar="PATH")
    vault: str = option(
        "default",
        "Vault connection that may call sys/audit-hash/PATH.",
        metavar="CONN_ID",
        param=params.VAULT_CONN_ID,
    )
    cloudtrail: list[Path] | None = option(
        None, "CloudTrail file or folder. Can be repeated.", metavar="PATH", param=params.CLOUDTRAIL
    )
    dag: list[str] | None = option(
        None,
        "A DAG that `check --dag` ran for, if no event and no policy names it. Can be repeated.",
        metavar="DAG_ID",
    )
    since: datetime | None = option(None, "Start (UTC). Default: the start of the service's log.")
    until: datetime | None = option(None, "End (UTC). Default: the end of the log, or --window ago if earlier.")
    window: float = option(
        300.0, "How long after an unwrap its event may be written.", metavar="SECONDS", minimum=0
    )
    skew: float = option(60.0, "How far clocks may differ.", metavar="SECONDS", minimum=0)
    sink: list[str] | None = shared(audit_options.SINK, None)


@dataclass(frozen=True)
class ReconcileReport(Report):
    """The gaps between the logs, and the notifications that failed."""

    compared: Compared
    not_told: Sequence[AlarmNotTold] = field(default=())

    @property
    def found(self) -> bool:
        """Return whether a gap needs attention."""
        return bool(self.compared.findings)

    def record(self) -> dict[str, Any]:
        """See `Report.record`."""
        from secure_xcom.ops.audit_trail.reconcile.match import record

        compared, matched = self.compared, self.compared.matched
        return {
            "since": _text(compared.since),
            "until": _text(compared.until),
            **{name: getattr(matched, name) for name in ("uses", "events", "pairs", "shared")},
            "cached": compared.counts.cached,
            "hashed": compared.counts.hashed,
            "notes": [{"text": note.text, "remedy": note.remedy} for note in compared.notes],
            "gaps": [{**record(gap), "time": _text(gap.details["time"])} for gap in compared.gaps],
        }

    def step_record(self) -> dict[str, Any]:
        """See `Report.step_record`."""
        matched = self.compared.matched
        return {
            "uses": matched.uses,
            "events": matched.events,
            "gaps": len(self.compared.findings),
            "not_told": len(self.not_told),
            "notes": [note.text for note in self.compared.notes],
            "found": self.found,
        }

    def lines(self) -> list[str]:
        """See `Report.lines`. The command shows gaps in color instead."""
        return [*(gap.text for gap in self.compared.gaps), *self.summary()]

    def shown(self) -> Iterator[tuple[Finding, str]]:
        """Yield each gap, and the line that says when, who and where."""
        for gap in self.compared.gaps:
            who = f", {gap.details['who']} from {gap.details['address']}" if gap.details["who"] else ""
            yield gap, f"{_text(gap.details['time'])}{who}, {gap.subject}"

    def summary(self) -> list[str]:
        """Return the lines after the gaps: what was compared."""
        compared, matched = self.compared, self.compared.matched
        counters = (
            f"{matched.uses} unwraps in the services' logs",
            f"{matched.events} events that called them",
            f"{matched.pairs} belong together",
            f"{matched.shared} share one",
            f"{compared.counts.cached} events needed no request",
            f"{compared.counts.hashed} hide their ids",
        )
        return [f"{_text(compared.since)} to {_text(compared.until)}: {', '.join(counters)}"]


def _reconcile(context: JobContext, options: ReconcileOptions) -> ReconcileReport:
    from secure_xcom.core.operator_errors import CommandError
    from secure_xcom.ops.audit_trail.evaluate_alarms import sound
    from secure_xcom.ops.audit_trail.reconcile.compare import ServiceLogs, compare

    vault_logs, cloudtrail = _paths(options.vault_log), _paths(options.cloudtrail)
    if not vault_logs and not cloudtrail:
        raise CommandError("no log to compare with is given", remedy="add --vault-log or --cloudtrail")
    settings = context.deployment.settings
    has_policy = settings.access_policy or (settings.key_uris and settings.store_uri)
    compared = compare(
        Locations(lambda: context.deployment, sinks=options.sink).sources(),
        context.deployment.policy if has_policy else None,
        ServiceLogs(vault_logs, options.device, options.vault, cloudtrail),
        since=_seconds(options.since),
        until=_seconds(options.until),
        window=options.window,
        skew=options.skew,
        probed_dags=options.dag or (),
    )
    not_told = sound(context.deployment, "reconcile_gap", [gap.text for gap in compared.findings])
    for error in not_told:
        log.error("An alarm could not be sent: %s", error)
    return ReconcileReport(compared, not_told)


def _no_service_log(_context: JobContext, options: ReconcileOptions) -> dict[str, Any] | None:
    return None if options.vault_log or options.cloudtrail else {"logs": "none is named"}


def _paths(named: Sequence[Path] | str | None) -> list[Path]:
    """Return the paths of an option, or the one of a Param of the DAG."""
    return [Path(named)] if isinstance(named, str) else list(named or ())


def _seconds(moment: datetime | None) -> float:
    return moment.replace(tzinfo=timezone.utc).timestamp() if moment else 0.0


def _text(seconds: float) -> str:
    return clock.text_of(datetime.fromtimestamp(seconds, timezone.utc))


# --- the jobs ---------------------------------------------------------------------------------------------

ALARMS = Job(
    "audit_alarms",
    "Evaluate the access policy's alarms on new events, and send notifications.",
    "Evaluates the events since the last run. Run it often (the maintenance DAG does); the first run learns who "
    "reads from whom. Exit code 2 also means that a notification failed.",
    AlarmOptions,
    _alarms,
    keeps_state=False,
    command="alarms",
    found="an alarm was raised",
    examples=("secure-xcom audit alarms --dry-run", "secure-xcom audit alarms"),
    idle=_no_alarms,
)
RECONCILE = Job(
    "audit_reconcile",
    "Compare the access log with the key services' own logs.",
    "An unwrap in their logs without an event is a use of the key outside secure_xcom. An event without a "
    "record in their logs means that a log is incomplete or that the event was forged. If either is found, "
    "the access policy's alarms for "
    "`reconcile_gap` are raised.",
    ReconcileOptions,
    _reconcile,
    keeps_state=False,
    command="reconcile",
    found="a use of a key is in only one of the logs",
    examples=(
        "secure-xcom audit reconcile --vault-log /var/log/vault/audit.log --device file",
        "secure-xcom audit reconcile --cloudtrail /data/AWSLogs --since 2026-11-22T00:00:00",
    ),
    idle=_no_service_log,
)

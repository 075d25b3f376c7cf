"""The maintenance DAG's jobs on the access log: anchor it, evaluate its alarms, reconcile it.

Their commands are those of ``secure-xcom audit``, which work on sinks and logs that their options name.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_xcom.ops.jobs import params
from secure_xcom.ops.jobs.job import Job, JobContext, Report, option

if TYPE_CHECKING:
    from secure_xcom.core.errors import AlarmNotTold
    from secure_xcom.ops.audit_trail.read import Source

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AuditReport(Report):
    """What a job on the access log reports.

    :ivar json: the report as JSON; :ivar needs_attention: whether somebody should look at it.
    """

    json: dict[str, Any]
    needs_attention: bool = False

    @property
    def found(self) -> bool:
        """See `Report.found`."""
        return self.needs_attention

    def record(self) -> dict[str, Any]:
        """See `Report.record`."""
        return self.json

    def lines(self) -> list[str]:
        """See `Report.lines`."""
        return [f"{name}: {value}" for name, value in self.json.items()]


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Options of a job that has none."""


def _sources(context: JobContext) -> Sequence[Source]:
    """Return the sources of the sinks that can be read back.

    :raises UriInvalid: none of them can.
    """
    from secure_xcom.ops.audit_trail.read import readable, source

    uris = context.deployment.sinks
    return [source(uri) for uri in [uri for uri in uris if readable(uri)] or uris]


def _audit_seal(context: JobContext, _options: NoOptions) -> AuditReport:
    from secure_xcom.ops.audit_trail.anchor import anchor
    from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
    from secure_xcom.ops.audit_trail.tlog.note import Verifier, checked_name
    from secure_xcom.ops.audit_trail.tlog.signers import signer
    from secure_xcom.stores import store

    settings = context.deployment.settings
    if not settings.sealed_log or not settings.sealing_key:
        return AuditReport({"sealed_log": "none is set"})
    key = signer(settings.sealing_key)
    name = checked_name(settings.sealed_log_name, "[secure_xcom] sealed_log_name")
    verifiers = [Verifier.parse(text) for text in settings.sealed_log_verifiers]
    anchored_log = AnchoredLog(store(settings.sealed_log), verifiers or [Verifier(name, key.public_key())])
    anchored = anchor(anchored_log, _sources(context), key)
    return AuditReport(anchored.record(), bool(anchored.unsealable))


def _audit_alarms(context: JobContext, _options: NoOptions) -> AuditReport:
    from secure_xcom.ops.audit_trail.evaluate_alarms import default_state, evaluate

    alarms = context.deployment.policy.alarms
    if not alarms:
        return AuditReport({"alarms": "none is set"})
    evaluated = evaluate(alarms, _sources(context), default_state())
    _log_failed(evaluated.not_told)
    if evaluated.not_told:
        raise evaluated.not_told[0]
    raised = [alarm.as_json() for alarm in evaluated.raised]
    return AuditReport({"raised": len(raised), "alarms": raised}, bool(raised))


@dataclass(frozen=True, kw_only=True)
class ReconcileOptions:
    """Options of audit_reconcile."""

    vault_log: str | None = option(None, param=params.VAULT_LOG)
    vault_conn_id: str = option("default", param=params.VAULT_CONN_ID)
    cloudtrail: str | None = option(None, param=params.CLOUDTRAIL)


def _audit_reconcile(context: JobContext, options: ReconcileOptions) -> AuditReport:
    from secure_xcom.ops.audit_trail.evaluate_alarms import sound
    from secure_xcom.ops.audit_trail.reconcile.compare import ServiceLogs, compare

    if not options.vault_log and not options.cloudtrail:
        return AuditReport({"logs": "none is named"})
    logs = ServiceLogs(
        [Path(options.vault_log)] if options.vault_log else (),
        conn_id=options.vault_conn_id,
        cloudtrail=[Path(options.cloudtrail)] if options.cloudtrail else (),
    )
    policy = context.deployment.policy
    compared = compare(_sources(context), policy, logs)
    gaps = compared.findings
    not_told = sound(policy.alarms, "reconcile_gap", [gap.text for gap in gaps])
    _log_failed(not_told)
    values = {
        "uses": compared.matched.uses,
        "events": compared.matched.events,
        "gaps": len(gaps),
        "not_told": len(not_told),
    }
    return AuditReport(values, bool(gaps))


def _log_failed(not_told: Sequence[AlarmNotTold]) -> None:
    for error in not_told:
        log.error("An alarm could not be sent: %s", error)


AUDIT_SEAL = Job(
    "audit_seal",
    "Anchor finished chains of the access log.",
    "Does nothing where no anchored log is set.",
    NoOptions,
    _audit_seal,
)
AUDIT_ALARMS = Job(
    "audit_alarms",
    "Evaluate the access policy's alarms on new events, and send notifications.",
    "Does nothing where the access policy has no alarms. Fails where an alarm could not be sent; the log has all.",
    NoOptions,
    _audit_alarms,
)
AUDIT_RECONCILE = Job(
    "audit_reconcile",
    "Compare the access log with the key services' own logs.",
    "Does nothing where no log is named. Where they differ, sends the policy's alarms for ``reconcile_gap``.",
    ReconcileOptions,
    _audit_reconcile,
)

"""The whole comparison: the services' logs and the access log over the same period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secure_xcom.core import clock
from secure_xcom.core.access_policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.core.findings import Finding
from secure_xcom.ops.audit_trail.read import Source
from secure_xcom.ops.audit_trail.reconcile import cloudtrail, expected_uses, vault_log
from secure_xcom.ops.audit_trail.reconcile.match import (
    SKEW_SECONDS,
    WINDOW_SECONDS,
    Matched,
    ServerUse,
    match,
)


@dataclass(frozen=True, slots=True)
class ServiceLogs:
    """The available logs of key services.

    :ivar vault: files of one file audit device; :ivar device: its path in Vault.
    :ivar conn_id: the Vault connection with the right to call ``sys/audit-hash``.
    :ivar cloudtrail: files or folders.
    """

    vault: Sequence[Path] = ()
    device: str = "file"
    conn_id: str = "default"
    cloudtrail: Sequence[Path] = ()


@dataclass(slots=True)
class Compared:
    """The result. The compared period is from ``since`` to ``until``, in seconds since 1970."""

    matched: Matched
    counts: expected_uses.Counts
    since: float
    until: float
    gaps: list[Finding]

    @property
    def findings(self) -> list[Finding]:
        """The gaps that somebody should examine."""
        return [gap for gap in self.gaps if gap.status != "ok"]


def compare(
    sources: Sequence[Source],
    policy: AccessPolicy | None,
    logs: ServiceLogs,
    *,
    since: float = 0.0,
    until: float = 0.0,
    window: float = WINDOW_SECONDS,
    skew: float = SKEW_SECONDS,
    probe: Coordinate | None = None,
) -> Compared:
    """Compare the logs.

    :param policy: lists the deployment's keys, in addition to those that events name.
    :param since: 0 for the start of the services' logs; :param until: 0 for their end, or a window ago.
    :param probe: the coordinate that `secure-xcom check` unwraps for, in each compartment.
    :raises AccessLogUnreadable: a log or a sink cannot be read; :raises CommandError: a file is not a log, or
    Vault
        does not return the form of a context.
    """
    compartments = policy.compartments if policy else ()
    namers: dict[str, expected_uses.Namer] = {}
    contexts: vault_log.Contexts | None = None
    uses: list[ServerUse] = []
    exports: list[Finding] = []
    times: list[tuple[float | None, float | None]] = []
    if logs.vault:
        listed = [uri for compartment in compartments for uri in compartment.all_key_uris]
        read = vault_log.read(list(logs.vault), expected_uses.transit_keys(sources, listed))
        contexts = vault_log.Contexts(logs.conn_id, logs.device)
        namers[vault_log.SERVICE] = contexts.name
        uses += read.uses
        exports += read.exports
        times.append((read.first, read.last))
    if logs.cloudtrail:
        kms_uses, first, last = cloudtrail.read(list(logs.cloudtrail))
        namers[cloudtrail.SERVICE] = cloudtrail.name
        uses += kms_uses
        times.append((first, last))
    start = since or max((first for first, _ in times if first is not None), default=0.0)
    end = until or min([*(last for _, last in times if last is not None), clock.now().timestamp() - window])
    # Events shortly before and after the period may belong to uses within it.
    counts = expected_uses.Counts()
    events = list(expected_uses.uses(sources, namers, start - skew, end + window + skew, counts))
    probes = frozenset(
        namer(encryption_context(compartment.name, probe))
        for namer in namers.values()
        for compartment in compartments
        if probe is not None
    )
    unknown = {use.context for use in uses if not use.ok} - {event.context for event in events}
    proofs = contexts.proofs() if contexts and unknown else frozenset()
    matched = match(uses, events, window=window, skew=skew, probes=probes, proofs=proofs)
    gaps = [gap for gap in [*matched.gaps, *exports] if start <= gap.details["time"] <= end]
    return Compared(matched, counts, start, end, sorted(gaps, key=lambda gap: gap.details["time"]))

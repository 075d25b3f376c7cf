"""The whole comparison: the services' logs and ours, of one time, held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from secure_xcom.core import clock
from secure_xcom.core.access_policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.ops.audit_trail.read import Source
from secure_xcom.ops.audit_trail.reconcile import cloudtrail, expected_uses, vault_log
from secure_xcom.ops.audit_trail.reconcile.match import (
    SKEW_SECONDS,
    WINDOW_SECONDS,
    Gap,
    Matched,
    ServerUse,
    match,
)


@dataclass(frozen=True, slots=True)
class ServiceLogs:
    """The key services' logs that are at hand.

    :ivar vault: files of one file audit device; :ivar device: its path in Vault.
    :ivar conn_id: the Vault connection that may ask ``sys/audit-hash``.
    :ivar cloudtrail: files or folders.
    """

    vault: Sequence[Path] = ()
    device: str = "file"
    conn_id: str = "default"
    cloudtrail: Sequence[Path] = ()


@dataclass(slots=True)
class Compared:
    """What came out. Times are seconds since 1970: what was compared is between them."""

    matched: Matched
    counts: expected_uses.Counts
    since: float
    until: float
    gaps: list[Gap] = field(default_factory=list)

    @property
    def findings(self) -> list[Gap]:
        """What somebody should look at."""
        return [gap for gap in self.gaps if gap.finding]


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
    """Compare.

    :param policy: says which keys are ours, beside those that events name.
    :param since: 0 for the beginning of the services' logs; :param until: 0 for their end, or a window ago.
    :param probe: what `secure-xcom check` unwraps for, in each compartment.
    :raises AccessLogUnreadable: a log or a sink cannot be read; :raises CommandError: a file is no log, or Vault
        does not tell how it writes a context.
    """
    compartments = policy.compartments if policy else ()
    namers: dict[str, expected_uses.Namer] = {}
    contexts: vault_log.Contexts | None = None
    uses: list[ServerUse] = []
    exports: list[Gap] = []
    times: list[tuple[float | None, float | None]] = []
    if logs.vault:
        listed = [uri for one in compartments for uri in one.all_key_uris]
        read = vault_log.read(list(logs.vault), expected_uses.transit_keys(sources, listed))
        contexts = vault_log.Contexts(logs.conn_id, logs.device)
        namers[vault_log.SERVICE] = contexts.name
        uses += read.uses
        exports += read.exports
        times.append((read.first, read.last))
    if logs.cloudtrail:
        found, first, last = cloudtrail.read(list(logs.cloudtrail))
        namers[cloudtrail.SERVICE] = cloudtrail.name
        uses += found
        times.append((first, last))
    start = since or max((first for first, _ in times if first is not None), default=0.0)
    end = until or min([*(last for _, last in times if last is not None), clock.now().timestamp() - window])
    counts = expected_uses.Counts()
    # Events around the time may belong to uses within it, and the other way round.
    ours = list(expected_uses.uses(sources, namers, start - skew, end + window + skew, counts))
    probes = frozenset(
        namer(encryption_context(one.name, probe))
        for namer in namers.values()
        for one in compartments
        if probe is not None
    )
    unknown = {use.context for use in uses if not use.ok} - {event.context for event in ours}
    proofs = contexts.proofs() if contexts and unknown else frozenset()
    matched = match(uses, ours, window=window, skew=skew, probes=probes, proofs=proofs)
    gaps = [gap for gap in [*matched.gaps, *exports] if start <= gap.time <= end]
    return Compared(matched, counts, start, end, sorted(gaps, key=lambda gap: gap.time))

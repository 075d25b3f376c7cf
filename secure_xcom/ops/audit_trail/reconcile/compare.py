"""The whole comparison: the services' logs and the access log over the same period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from secure_xcom.core import clock
from secure_xcom.core.access_policy.field_types import is_glob
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import encryption_context
from secure_xcom.core.findings import Finding
from secure_xcom.ops.audit_trail.pieces import Source
from secure_xcom.ops.audit_trail.reconcile import cloudtrail, expected_uses, vault_log
from secure_xcom.ops.audit_trail.reconcile.match import (
    SKEW_SECONDS,
    WINDOW_SECONDS,
    Matched,
    ServerUse,
    match,
)
from secure_xcom.ops.audit_trail.reconcile.viewer_unwraps import DisplayNames, display_names, match_viewers
from secure_xcom.ops.checks.probe import PROBE_DAG, probe_coordinate


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
    """The result. The compared period is from ``since`` to ``until``, in seconds since 1970.

    :ivar notes: reasons why the comparison may say nothing, such as an empty log or a wrong audit device.
    """

    matched: Matched
    counts: expected_uses.Counts
    since: float
    until: float
    gaps: list[Finding]
    notes: list[Finding]

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
    probed_dags: Sequence[str] = (),
) -> Compared:
    """Compare the logs.

    :param policy: lists the deployment's keys, in addition to those that events name.
    :param since: 0 for the start of the services' logs; :param until: 0 for their end, or a window ago.
    :param probed_dags: DAGs that `secure-xcom check` may have unwrapped for, in addition to those that the policy
        and the events name.
    :raises AccessLogUnreadable: a log or a sink cannot be read; :raises CommandError: a file is not a log, or
        Vault does not return the form of a context.
    """
    compartments = policy.compartments if policy else ()
    namers: dict[str, expected_uses.Namer] = {}
    contexts: vault_log.Contexts | None = None
    uses: list[ServerUse] = []
    exports: list[Finding] = []
    notes: list[Finding] = []
    times: list[tuple[float | None, float | None]] = []
    if logs.vault:
        contexts = vault_log.Contexts(logs.conn_id, logs.device)
        contexts.check_device()
        listed = [uri for compartment in compartments for uri in compartment.all_key_uris]
        keys = expected_uses.transit_keys(sources, listed)
        read = vault_log.read(list(logs.vault), keys)
        namers[vault_log.SERVICE] = contexts.name
        uses += read.uses
        exports += read.exports
        notes += _notes_on_vault(read, keys)
        times.append((read.first, read.last))
    if logs.cloudtrail:
        kms_uses, first, last = cloudtrail.read(list(logs.cloudtrail))
        namers[cloudtrail.SERVICE] = cloudtrail.name
        uses += kms_uses
        times.append((first, last))
        if first is None:
            notes.append(_note("CloudTrail", "the files have no record of KMS", "name the folder of the trail"))
    start = since or max((first for first, _ in times if first is not None), default=0.0)
    end = until or min([*(last for _, last in times if last is not None), clock.now().timestamp() - window])
    # Events shortly before and after the period may belong to uses within it.
    events, counts = expected_uses.uses(
        sources, namers, start - skew, end + window + skew, browsers_since=start - window - skew
    )
    if not counts.events:
        remedy = "check that the sink is the right one; before the first pull this is normal"
        notes.append(_note("access log", "there is no pull in this period", remedy))
    recorded = {event.context for event in events}
    unknown = {use.context for use in uses if use.context not in recorded}
    probes = _probes(policy, namers, [PROBE_DAG]) if unknown else set()
    if unknown - probes:
        # Vault is asked for each DAG, so only if there is an unwrap that nothing explains.
        dags = {*_literals(policy), *expected_uses.dag_ids(sources), *probed_dags}
        probes |= _probes(policy, namers, sorted(dags))
    refused = {use.context for use in uses if not use.ok} - recorded
    proofs = contexts.proofs() if contexts and refused else frozenset()
    # A viewer's token says nothing of a task, so its unwraps are matched first and with events of people alone.
    of_viewers, others = match_viewers(
        [use for use in uses if use.viewer],
        events,
        _display_names(policy),
        window=window,
        skew=skew,
        probes=frozenset(probes - recorded),
    )
    of_tasks = match(
        [use for use in uses if not use.viewer],
        others,
        window=window,
        skew=skew,
        probes=frozenset(probes),
        proofs=proofs,
    )
    matched = of_tasks.plus(of_viewers)
    if contexts and not recorded & {use.context for use in uses} and any(use.ok for use in uses) and events:
        notes.append(
            Finding(
                "audit device",
                "warning",
                "no unwrap in Vault's log has the context of any event: the log is probably that of "
                f"another audit device than {logs.device!r:.80}, with another salt, or of another Vault",
                "name the device of this file with --device: `vault audit list -detailed` shows all devices",
            )
        )
    gaps = [gap for gap in [*matched.gaps, *exports] if start <= gap.details["time"] <= end]
    return Compared(matched, counts, start, end, sorted(gaps, key=lambda gap: gap.details["time"]), notes)


def _display_names(policy: AccessPolicy | None) -> DisplayNames:
    vault = policy.reveal.vault if policy and policy.reveal else None
    return display_names(vault.mount, vault.namespace) if vault else lambda _: ()


def _probes(
    policy: AccessPolicy | None, namers: Mapping[str, expected_uses.Namer], dags: Sequence[str]
) -> set[str]:
    """Return the contexts in which `secure-xcom check` unwraps for these DAGs, as the services log them.

    `check` acts as one DAG of its own in every compartment, and as any other DAG in its compartment.
    """
    contexts = []
    for dag in dags:
        coordinate = probe_coordinate(dag)
        if dag == PROBE_DAG:
            names = [compartment.name for compartment in policy.compartments] if policy else []
        else:
            compartment = policy.resolve_dag(dag) if policy else None
            names = [compartment.name] if compartment else []
        contexts += [encryption_context(name, coordinate) for name in names]
    return {namer(context) for namer in namers.values() for context in contexts}


def _literals(policy: AccessPolicy | None) -> set[str]:
    """Return the DAG ids that the policy names without a wildcard."""
    if policy is None:
        return set()
    globs = [glob for compartment in policy.compartments for glob in compartment.dags]
    globs += [
        glob for compartment in policy.compartments for reader in compartment.readers for glob in reader.dags
    ]
    globs += [glob for identity in policy.identities for grant in identity.grants for glob in grant.dags or ()]
    return {glob for glob in globs if not is_glob(glob)}


def _notes_on_vault(read: vault_log.VaultLog, keys: set[str]) -> list[Finding]:
    subject = "Vault's log"
    if not keys:
        text = "no transit key is known, because neither the settings nor an event names one"
        return [_note(subject, text, "run the command with the deployment's settings, or --config")]
    if not read.lines:
        return [_note(subject, "the file is empty", "name the file that the audit device writes to")]
    if not read.uses:
        text = f"none of its {read.lines} lines is an unwrap with a key of this deployment"
        return [
            _note(subject, text, "check that it is the log of this Vault; before the first pull this is normal")
        ]
    return []


def _note(subject: str, text: str, remedy: str) -> Finding:
    return Finding(subject, "ok", text, remedy)

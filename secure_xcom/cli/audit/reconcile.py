"""``secure-xcom audit reconcile``: our events against Vault's and CloudTrail's own logs."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_xcom.cli import output
from secure_xcom.cli.audit.alarms import sound
from secure_xcom.cli.audit.place import ConfigOption, JsonOption, Place, SinkOption

if TYPE_CHECKING:
    from secure_xcom.audit.reconcile.matching import Matched
    from secure_xcom.audit.reconcile.our_events import Counts, Namer


def reconcile(
    vault_log: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Log of a Vault file audit device. May repeat.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="PATH", help="The audit device's path in Vault.")] = "file",
    vault: Annotated[
        str, typer.Option(metavar="CONN_ID", help="Vault connection that may ask sys/audit-hash/PATH.")
    ] = "default",
    cloudtrail: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="CloudTrail file or folder. May repeat.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="UTC. Default: the beginning of the service's log.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="UTC. Default: its end, or --window ago if that is earlier.")
    ] = None,
    window: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long after an unwrap its event may come.")
    ] = 300.0,
    skew: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="How far clocks may be apart.")] = 60.0,
    sink: SinkOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the access log against the key services' own logs.

    Every unwrap there that has no event is a use of the key outside secure_xcom; every event without a record
    there is one that a log lacks, or that was forged. Exit code 1 where either is found;
    then the access policy's alarms for `reconcile_gap` are told.
    """
    from secure_xcom.audit.reconcile import cloudtrail as trail
    from secure_xcom.audit.reconcile import our_events
    from secure_xcom.audit.reconcile import vault_log as vault_file
    from secure_xcom.audit.reconcile.matching import match
    from secure_xcom.cli.probe import probe_coordinate
    from secure_xcom.coordinate import encryption_context
    from secure_xcom.errors import CommandError

    if not vault_log and not cloudtrail:
        raise CommandError("there is nothing to compare with", remedy="give --vault-log or --cloudtrail")
    place = Place(config, sinks=sink)
    sources = place.sources()
    policy = place.deployment.policy() if _has_policy(place) else None
    namers: dict[str, Namer] = {}
    found, gaps, times = [], [], []
    if vault_log:
        listed = [uri for one in policy.compartments for uri in one.all_key_uris] if policy else []
        read = vault_file.read(vault_log, our_events.transit_keys(sources, listed))
        namers[vault_file.SERVICE] = vault_file.Contexts(vault, device).name
        found += read.uses
        gaps += read.exports
        times += [(read.first, read.last)]
    if cloudtrail:
        uses, first, last = trail.read(cloudtrail)
        namers[trail.SERVICE] = trail.name
        found += uses
        times += [(first, last)]
    start = _seconds(since) or max((first for first, _ in times if first is not None), default=0.0)
    end = _seconds(until) or min(
        [last for _, last in times if last is not None] + [time.time() - window], default=0.0
    )
    counts = our_events.Counts()
    # Events around the time may belong to uses within it, and the other way round.
    ours = list(our_events.uses(sources, namers, start - skew, end + window + skew, counts))
    names = [one.name for one in policy.compartments] if policy else []
    probes = frozenset(
        namer(encryption_context(name, probe_coordinate())) for namer in namers.values() for name in names
    )
    done = match(found, ours, window=window, skew=skew, probes=probes)
    done.gaps = sorted([gap for gap in [*done.gaps, *gaps] if start <= gap.time <= end], key=lambda gap: gap.time)
    not_told = sound(place, "reconcile_gap", [gap.text for gap in done.gaps if gap.finding])
    for error in not_told:
        output.show_error(error, as_json=False)
    _show(done, counts, start, end, as_json=as_json)
    raise typer.Exit(output.FOUND_SOMETHING if any(gap.finding for gap in done.gaps) else output.FINE)


def _has_policy(place: Place) -> bool:
    settings = place.deployment.settings
    return bool(settings.access_policy or (settings.key_uris and settings.store_uri))


def _seconds(moment: datetime | None) -> float:
    return moment.replace(tzinfo=timezone.utc).timestamp() if moment else 0.0


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _show(done: Matched, counts: Counts, start: float, end: float, *, as_json: bool) -> None:
    if as_json:
        gaps: list[dict[str, Any]] = [
            {**asdict(gap), "time": _text(gap.time), "finding": gap.finding} for gap in done.gaps
        ]
        summary = {"uses": done.uses, "events": done.events, "pairs": done.pairs, "shared": done.shared}
        times = {"since": _text(start), "until": _text(end)}
        output.show_json({**times, **summary, "cached": counts.cached, "hashed": counts.hashed, "gaps": gaps})
        return
    out = output.console()
    for gap in done.gaps:
        out.print(
            f"{gap.kind}: {output.clean(gap.text)}", style="bold red" if gap.finding else "yellow", soft_wrap=True
        )
        who = f", {gap.who} from {gap.address}" if gap.who else ""
        out.print(f"  {_text(gap.time)}{output.clean(who)}, {output.clean(gap.place)}", soft_wrap=True)
    out.print(
        f"{_text(start)} to {_text(end)}: {done.uses} unwraps in the services' logs, {done.events} events that "
        f"asked them, {done.pairs} belong together, {done.shared} share one; {counts.cached} events needed no "
        f"request, {counts.hashed} hide their ids",
        soft_wrap=True,
    )

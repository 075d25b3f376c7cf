"""``secure-xcom audit reconcile``: our events against Vault's and CloudTrail's own logs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit.alarms import sound
from secure_xcom.cli.audit.locations import Place, SinkOption

if TYPE_CHECKING:
    from secure_xcom.ops.audit_trail.reconcile.compare import Compared


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
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Hold the access log against the key services' own logs.

    Every unwrap there that has no event is a use of the key outside secure_xcom; every event without a record
    there is one that a log lacks, or that was forged. Exit code 1 where either is found;
    then the access policy's alarms for `reconcile_gap` are told.
    """
    from secure_xcom.core.errors import CommandError
    from secure_xcom.ops.audit_trail.reconcile.compare import ServiceLogs, compare
    from secure_xcom.ops.checks.probe import probe_coordinate

    if not vault_log and not cloudtrail:
        raise CommandError("there is nothing to compare with", remedy="give --vault-log or --cloudtrail")
    place = Place(config, sinks=sink)
    done = compare(
        place.sources(),
        place.deployment.policy if _has_policy(place) else None,
        ServiceLogs(vault_log or (), device, vault, cloudtrail or ()),
        since=_seconds(since),
        until=_seconds(until),
        window=window,
        skew=skew,
        probe=probe_coordinate(),
    )
    for error in sound(place, "reconcile_gap", [gap.text for gap in done.findings]):
        output.show_error(error, as_json=False)
    _show(done, as_json=as_json)
    raise typer.Exit(output.FOUND_SOMETHING if done.findings else output.FINE)


def _has_policy(place: Place) -> bool:
    settings = place.deployment.settings
    return bool(settings.access_policy or (settings.key_uris and settings.store_uri))


def _seconds(moment: datetime | None) -> float:
    return moment.replace(tzinfo=timezone.utc).timestamp() if moment else 0.0


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _show(done: Compared, *, as_json: bool) -> None:
    matched, counts = done.matched, done.counts
    if as_json:
        gaps: list[dict[str, Any]] = [
            {**asdict(gap), "time": _text(gap.time), "finding": gap.finding} for gap in done.gaps
        ]
        summary = {
            "uses": matched.uses,
            "events": matched.events,
            "pairs": matched.pairs,
            "shared": matched.shared,
        }
        times = {"since": _text(done.since), "until": _text(done.until)}
        output.show_json({**times, **summary, "cached": counts.cached, "hashed": counts.hashed, "gaps": gaps})
        return
    out = output.console()
    for gap in done.gaps:
        style = "bold red" if gap.finding else "yellow"
        out.print(f"{gap.kind}: {output.clean(gap.text)}", style=style, soft_wrap=True)
        who = f", {gap.who} from {gap.address}" if gap.who else ""
        out.print(f"  {_text(gap.time)}{output.clean(who)}, {output.clean(gap.place)}", soft_wrap=True)
    told = (
        f"{matched.uses} unwraps in the services' logs",
        f"{matched.events} events that asked them",
        f"{matched.pairs} belong together",
        f"{matched.shared} share one",
        f"{counts.cached} events needed no request",
        f"{counts.hashed} hide their ids",
    )
    out.print(f"{_text(done.since)} to {_text(done.until)}: {', '.join(told)}", soft_wrap=True)

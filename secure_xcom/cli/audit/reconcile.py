"""``secure-xcom audit reconcile``: compare the access log with Vault's and CloudTrail's own logs."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit.alarms import sound
from secure_xcom.cli.audit.locations import Place, SinkOption
from secure_xcom.core.clock import text_of
from secure_xcom.ops.audit_trail.reconcile.match import SKEW_SECONDS, WINDOW_SECONDS, record

if TYPE_CHECKING:
    from secure_xcom.ops.audit_trail.reconcile.compare import Compared


def reconcile(
    vault_log: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Log of a Vault file audit device. May repeat.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="PATH", help="The audit device's path in Vault.")] = "file",
    vault: Annotated[
        str, typer.Option(metavar="CONN_ID", help="Vault connection that may call sys/audit-hash/PATH.")
    ] = "default",
    cloudtrail: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="CloudTrail file or folder. May repeat.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Start (UTC). Default: the start of the service's log.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="End (UTC). Default: the end of the log, or --window ago if earlier.")
    ] = None,
    window: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long after an unwrap its event may come.")
    ] = WINDOW_SECONDS,
    skew: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How far clocks may differ.")
    ] = SKEW_SECONDS,
    sink: SinkOption = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare the access log with the key services' own logs.

    An unwrap there without an event is a use of the key outside secure_xcom. An event without a record there means
    that a log is incomplete or the event was forged. Exit code 1 if either is found; the access policy's alarms
    for `reconcile_gap` are then raised.
    """
    from secure_xcom.core.errors import CommandError
    from secure_xcom.ops.audit_trail.reconcile.compare import ServiceLogs, compare
    from secure_xcom.ops.checks.probe import probe_coordinate

    if not vault_log and not cloudtrail:
        raise CommandError("there is nothing to compare with", remedy="add --vault-log or --cloudtrail")
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
    return text_of(datetime.fromtimestamp(seconds, timezone.utc))


def _show(done: Compared, *, as_json: bool) -> None:
    matched, counts = done.matched, done.counts
    if as_json:
        gaps = [{**record(gap), "time": _text(gap.details["time"])} for gap in done.gaps]
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
        style = "yellow" if gap.status == "ok" else "bold red"
        out.print(f"{gap.rule}: {output.clean(gap.text)}", style=style, soft_wrap=True)
        details = gap.details
        who = f", {details['who']} from {details['address']}" if details["who"] else ""
        out.print(f"  {_text(details['time'])}{output.clean(who)}, {output.clean(gap.subject)}", soft_wrap=True)
    counters = (
        f"{matched.uses} unwraps in the services' logs",
        f"{matched.events} events that called them",
        f"{matched.pairs} belong together",
        f"{matched.shared} share one",
        f"{counts.cached} events needed no request",
        f"{counts.hashed} hide their ids",
    )
    out.print(f"{_text(done.since)} to {_text(done.until)}: {', '.join(counters)}", soft_wrap=True)

"""``secure-xcom audit verify``: what was changed, and where."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit import progress
from secure_xcom.cli.audit.alarms import sound
from secure_xcom.cli.audit.locations import (
    KeyOption,
    LogOption,
    NameOption,
    Place,
    SinkOption,
    VerifierOption,
    read_file,
)

if TYPE_CHECKING:
    from secure_xcom.ops.audit_trail.verify import Verified

_SHOWN = 1000


def verify(
    sink: SinkOption = None,
    log: LogOption = None,
    verifier: VerifierOption = None,
    key: KeyOption = None,
    name: NameOption = None,
    trusted: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A checkpoint kept elsewhere, which the log must extend. May repeat."),
    ] = None,
    chains_only: Annotated[
        bool, typer.Option("--chains-only", help="Leave the sealed log out: only what chains tell by themselves.")
    ] = False,
    quiet: Annotated[int, typer.Option("--quiet", metavar="SECONDS", min=0, help="As for `audit seal`.")] = 300,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Find edited, removed, moved, forged and repeated events, cut chains, and changes of the sealed log.

    Chains without an end (a killed process) are told apart and are no finding. Exit code 1 where anything was
    tampered with; then the access policy's alarms for `tampering` are told.
    """
    from secure_xcom.ops.audit_trail import verify as audit_trail_verify

    place = Place(config, sinks=sink, log=log, key=key, name=name, verifiers=verifier)
    kept = [(str(path), read_file(path)) for path in trusted or ()]
    sealed_log = None if chains_only else place.log()
    with progress.shown(wanted=not as_json) as tell:
        done = audit_trail_verify.verify(
            place.sources(), sealed_log, trusted=kept, quiet_seconds=quiet, progress=tell
        )
    tampered = [one for one in done.found if one.tampering]
    not_told = sound(place, "tampering", [f"{one.kind}: {one.text} [{one.where}]" for one in tampered])
    if as_json:
        found = [{**asdict(one), "tampering": one.tampering, "where": one.where} for one in done.found]
        output.show_json({**{k: v for k, v in asdict(done).items() if k != "found"}, "found": found})
    else:
        _show(done)
    for error in not_told:
        output.show_error(error, as_json=False)
    raise typer.Exit(output.FOUND_SOMETHING if tampered else output.FINE)


def _show(done: Verified) -> None:
    out = output.console()
    counts = Counter(one.kind for one in done.found)
    for found in sorted(done.found, key=lambda one: not one.tampering)[:_SHOWN]:
        style = "bold red" if found.tampering else "yellow"
        out.print(f"{found.kind}: {output.clean(found.text)}", style=style, soft_wrap=True)
        out.print(f"  {output.clean(found.where)}", soft_wrap=True)
    if len(done.found) > _SHOWN:
        out.print(f"... and {len(done.found) - _SHOWN} more (--json has all)")
    out.print(
        f"{done.events} events in {done.chains} chains, {done.open} being written; sealed log: {done.sealed} "
        f"entries, {done.pruned} of them pruned",
        soft_wrap=True,
    )
    told = ", ".join(f"{count} {kind}" for kind, count in counts.most_common()) or "nothing"
    out.print(f"found: {told}", soft_wrap=True)

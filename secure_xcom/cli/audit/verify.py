"""``secure-xcom audit verify``: find out what was changed, and where."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit import progress_bar
from secure_xcom.cli.audit.locations import (
    KeyOption,
    LogOption,
    NameOption,
    Place,
    QuietOption,
    SinkOption,
    VerifierOption,
    read_file,
)
from secure_xcom.core.event_chain import QUIET_SECONDS

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
        typer.Option(metavar="FILE", help="Checkpoint kept elsewhere that the log must extend. Can be repeated."),
    ] = None,
    chains_only: Annotated[
        bool, typer.Option("--chains-only", help="Check only the chains, not the anchored log.")
    ] = False,
    quiet: QuietOption = QUIET_SECONDS,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Find edited, removed, moved, forged and repeated events, truncated chains, and changes to the anchored log.

    Chains without an end (a killed process) are listed and do not count as tampering. If anything was tampered
    with, the access policy's alarms for `tampering` are raised.
    """
    from secure_xcom.ops.audit_trail import verify as audit_trail_verify
    from secure_xcom.ops.audit_trail.evaluate_alarms import sound
    from secure_xcom.ops.audit_trail.log_findings import is_tampering, record, where

    place = Place(config, sinks=sink, log=log, key=key, name=name, verifiers=verifier)
    checkpoints = [(str(path), read_file(path)) for path in trusted or ()]
    anchored_log = None if chains_only else place.log()
    with progress_bar.shown(wanted=not as_json) as tell:
        done = audit_trail_verify.verify(
            place.sources(), anchored_log, trusted=checkpoints, quiet_seconds=quiet, progress=tell
        )
    tampered = [finding for finding in done.found if is_tampering(finding)]
    texts = [f"{finding.rule}: {finding.text} [{where(finding)}]" for finding in tampered]
    not_told = sound(place.deployment, "tampering", texts) if texts else []
    if as_json:
        output.show_json({**asdict(done), "found": [record(finding) for finding in done.found]})
    else:
        _show(done)
    for error in not_told:
        output.show_error(error, as_json=False)
    raise typer.Exit(output.FOUND_SOMETHING if tampered else output.FINE)


def _show(done: Verified) -> None:
    from secure_xcom.ops.audit_trail.log_findings import is_tampering, where

    out = output.console()
    counts = Counter(finding.rule for finding in done.found)
    for finding in sorted(done.found, key=lambda finding: not is_tampering(finding))[:_SHOWN]:
        style = "bold red" if is_tampering(finding) else "yellow"
        out.print(f"{finding.rule}: {output.clean(finding.text)}", style=style, soft_wrap=True)
        out.print(f"  {output.clean(where(finding))}", soft_wrap=True)
    if len(done.found) > _SHOWN:
        out.print(f"... and {len(done.found) - _SHOWN} more (--json has all)")
    out.print(
        f"{done.events} events in {done.chains} chains, {done.open} being written; anchored log: {done.sealed} "
        f"entries, {done.pruned} of them pruned",
        soft_wrap=True,
    )
    summary = ", ".join(f"{count} {kind}" for kind, count in counts.most_common()) or "nothing"
    out.print(f"found: {summary}", soft_wrap=True)

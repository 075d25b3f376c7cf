"""``secure-xcom audit seal``: anchor finished chains in the sealed log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit.locations import (
    KeyOption,
    LogOption,
    NameOption,
    Place,
    QuietOption,
    SinkOption,
    VerifierOption,
    write_file,
)
from secure_xcom.core.event_chain import QUIET_SECONDS


def seal(
    sink: SinkOption = None,
    log: LogOption = None,
    key: KeyOption = None,
    name: NameOption = None,
    verifier: VerifierOption = None,
    quiet: QuietOption = QUIET_SECONDS,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", metavar="FILE", help="Also write the newest checkpoint here, to be kept elsewhere."
        ),
    ] = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Copy events of chains that have ended or gone quiet into the sealed log, and sign the new checkpoint.

    Run it regularly, on each machine that has its own sinks. Each run adds the new events; an interrupted run is
    finished first. Of two concurrent runs one stops with an error. Exit code 1 if an event does not continue its
    chain: it is not copied, and `audit verify` explains why.
    """
    from secure_xcom.ops.audit_trail import anchor

    place = Place(config, sinks=sink, log=log, key=key, name=name, verifiers=verifier)
    sealed_log = place.log()
    done = anchor.anchor(sealed_log, place.sources(), place.signer(), quiet_seconds=quiet)
    number, head = sealed_log.newest()
    if checkpoint is not None and number:
        write_file(checkpoint, sealed_log.note(number))
    if as_json:
        output.show_json({**done.record(), "checkpoint": number, "root": head.root.hex()})
    else:
        out = output.console()
        resumed = ", the first of them begun by an earlier run" if done.resumed else ""
        out.print(
            f"{done.entries} events anchored in {done.seals} steps{resumed}; {head.size} in all, "
            f"checkpoint {number}; {done.waiting} too young",
            soft_wrap=True,
        )
        for problem in done.unsealable:
            where = f"{output.clean(problem.subject)}:{problem.line}, chain {problem.details['chain']}"
            out.print(f"! {where}: {problem.text}; not anchored", style="bold red", soft_wrap=True)
    raise typer.Exit(output.FOUND_SOMETHING if done.unsealable else output.FINE)

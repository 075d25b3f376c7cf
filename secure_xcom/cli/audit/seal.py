"""``secure-xcom audit seal``: finished chains into the sealed log."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import options, output
from secure_xcom.cli.audit.locations import (
    KeyOption,
    LogOption,
    NameOption,
    Place,
    SinkOption,
    VerifierOption,
    write_file,
)


def seal(
    sink: SinkOption = None,
    log: LogOption = None,
    key: KeyOption = None,
    name: NameOption = None,
    verifier: VerifierOption = None,
    quiet: Annotated[
        int, typer.Option("--quiet", metavar="SECONDS", min=0, help="Age of an event of a chain without an end.")
    ] = 300,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", metavar="FILE", help="Write the newest checkpoint here too, to be kept apart."
        ),
    ] = None,
    config: options.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Copy events of chains that have ended or gone quiet into the sealed log, and sign the new checkpoint.

    Run it from time to time, on each machine that has sinks of its own. Running it again seals what is new; what
    a crash has cut is finished first. Of two that seal at once one stops and says so. Exit code 1 where an event
    does not continue its chain: it is not sealed, and `audit verify` says more.
    """
    from secure_xcom.ops.audit_trail import anchor

    place = Place(config, sinks=sink, log=log, key=key, name=name, verifiers=verifier)
    sealed_log = place.log()
    done = anchor.anchor(sealed_log, place.sources(), place.signer(), quiet_seconds=quiet)
    number, head = sealed_log.newest()
    if checkpoint is not None and number:
        write_file(checkpoint, sealed_log.note(number))
    if as_json:
        output.show_json({**asdict(done), "checkpoint": number, "root": head.root.hex()})
    else:
        out = output.console()
        again = ", the first of them begun by another run" if done.resumed else ""
        out.print(
            f"{done.entries} events sealed in {done.seals} seals{again}; {head.size} in all, "
            f"checkpoint {number}; {done.waiting} too young",
            soft_wrap=True,
        )
        for one in done.unsealable:
            where = f"{output.clean(one.place)}:{one.line}, chain {one.chain}"
            out.print(f"! {where}: {one.text}; not sealed", style="bold red", soft_wrap=True)
    raise typer.Exit(output.FOUND_SOMETHING if done.unsealable else output.FINE)

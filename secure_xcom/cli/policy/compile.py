"""``secure-xcom policy compile``: the access policy as the policies of services."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import options, output


def policy_compile(
    file: options.PolicyFile,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where the files go: new, empty or compiled.")
    ],
    dag: options.DagsThatLimit = None,
    as_json: options.AsJson = False,
) -> None:
    """Write the policies of Vault, AWS, Google and Azure that an access policy needs.

    The same access policy gives the same files. Nothing is sent to any service. Exit code 1 where a grant became
    wider than the access policy says or where a key URI has to be changed.
    """
    from secure_xcom.core.access_policy import AccessPolicy
    from secure_xcom.ops.service_policies import compile_policy, write

    made = compile_policy(AccessPolicy.load(str(file)), dag or ())
    changed = write(made, out)
    if as_json:
        output.show_json({"files": sorted(made.files), "changed": changed, "notes": made.notes})
    else:
        screen = output.console()
        screen.print(f"{len(made.files)} files in {output.clean(out)}, {len(changed)} changed", soft_wrap=True)
        for note in made.notes:
            screen.print(f"! {output.clean(note)}", style="yellow", soft_wrap=True)
    raise typer.Exit(output.FOUND_SOMETHING if made.notes else output.FINE)

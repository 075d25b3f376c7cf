"""``secure-xcom policy compile``: compile the access policy into service policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import options, output


def policy_compile(
    file: options.PolicyFile,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="The output folder: new, empty or compiled before.")
    ],
    dag: options.DagsThatLimit = None,
    as_json: options.AsJson = False,
) -> None:
    """Compile an access policy into policies of Vault, AWS, Google and Azure.

    The same access policy gives the same files. Nothing is sent to any service. The exit code is 1 if a grant had
    to be wider than the access policy says, or if a key URI must be changed.
    """
    from secure_xcom.core.access_policy import AccessPolicy
    from secure_xcom.ops.service_policies.compile.all_services import compile_policy, write

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

"""``secure-xcom policy compile``: compile the access policy into service policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import options, output


def policy_compile(
    file: options.PolicyFile,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", help="The output folder: new, empty, or written by an earlier compile."
        ),
    ],
    dry_run: options.DryRun = False,
    dag: options.DagsThatLimit = None,
    as_json: options.AsJson = False,
) -> None:
    """Compile an access policy into policies of Vault, AWS, Google and Azure.

    The same access policy gives the same files. Nothing is sent to any service.
    """
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.ops.service_policies.compile.all_services import compile_policy, write

    compiled = compile_policy(AccessPolicy.load(str(file)), dag or ())
    changed = write(compiled, out, dry_run=dry_run)
    if as_json:
        output.show_json({"files": sorted(compiled.files), "changed": changed, "notes": compiled.notes})
    else:
        screen, verb = output.console(), "would change" if dry_run else "changed"
        screen.print(f"{len(compiled.files)} files in {output.clean(out)}, {len(changed)} {verb}", soft_wrap=True)
        for note in compiled.notes:
            screen.print(f"! {output.clean(note)}", style="yellow", soft_wrap=True)
    raise typer.Exit(output.FOUND_SOMETHING if compiled.notes or (dry_run and changed) else output.FINE)

"""``secure-xcom policy apply``: the compiled access policy into a Vault."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import output


def policy_apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The access policy.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, show the plan.")] = False,
    dag: Annotated[
        list[str] | None,
        typer.Option(metavar="DAG_ID", help="A DAG that is there, for globs that limit a grant. May repeat."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring what an access policy needs into the Vault of VAULT_ADDR, as an operator (VAULT_TOKEN).

    Running it again changes nothing; after a failure it goes on. Nothing is deleted, and what it did not make is
    never overwritten. Files for AWS, Google and Azure are for `policy compile` and your own tools.
    """
    from secure_xcom.access import AccessPolicy
    from secure_xcom.policies import apply_vault, compile_policy
    from secure_xcom.vault.client import VaultClient

    policy = AccessPolicy.load(str(file))
    made = compile_policy(policy, dag or ())
    client = VaultClient("default")
    planned = apply_vault.plan(client, policy, made)
    if not as_json:
        screen = output.console()
        for one in planned:
            screen.print(f"{one.step.state:6} {output.clean(one.step.text)}", soft_wrap=True)
            for line in one.diff:
                screen.print(f"       {output.clean(line)}", soft_wrap=True)
        for note in made.notes:
            screen.print(f"! {output.clean(note)}", style="yellow", soft_wrap=True)
    if not dry_run:
        apply_vault.apply(client, planned)
    if as_json:
        steps = [{"step": one.step.text, "state": one.step.state, "diff": one.diff} for one in planned]
        output.show_json({"applied": not dry_run, "steps": steps, "notes": made.notes})
    raise typer.Exit(output.FOUND_SOMETHING if made.notes else output.FINE)

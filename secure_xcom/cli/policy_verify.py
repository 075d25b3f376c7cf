"""``secure-xcom policy verify``: what each identity may really do, against what the access policy says."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from secure_xcom.cli import output


def policy_verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The access policy.")],
    dag: Annotated[
        list[str] | None,
        typer.Option(metavar="DAG_ID", help="A DAG that is there, as for `policy compile`. May repeat."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Try in Vault what a policy allows and what it forbids, each identity with its own token.

    The tokens are in the environment: SECURE_XCOM_VERIFY_FINANCE_WORKER for the identity finance-worker. One that
    has none is left out and named. Exit code 1 where anything is not as the file says, or was left out.
    """
    from secure_xcom.access import AccessPolicy
    from secure_xcom.errors import SettingMissing
    from secure_xcom.policies.matrix import grouped
    from secure_xcom.policies.verify_vault import verify
    from secure_xcom.vault.client import VaultClient

    policy = AccessPolicy.load(str(file))
    inside = [identity.name for identity in policy.identities if identity.vault is not None]
    given = {name: os.environ.get(f"SECURE_XCOM_VERIFY_{name.upper().replace('-', '_')}") for name in inside}
    tokens = {name: token for name, token in given.items() if token}
    if not tokens:
        raise SettingMissing(
            "no identity's token is given", remedy="set SECURE_XCOM_VERIFY_NAME for each identity with one"
        )
    rows = list(verify(VaultClient("default").wire, policy, tokens, dag or ()))
    left_out = [name for name in inside if name not in tokens]
    if as_json:
        record = [{**asdict(row), "surprise": row.surprise} for row in rows]
        output.show_json({"matrix": record, "left_out": left_out})
    else:
        screen = output.console()
        for line in grouped(rows):
            screen.print(
                f"{line.identity} | {line.service} | {line.compartment} | {output.clean(line.place)}",
                soft_wrap=True,
            )
            for word, actions in (("allowed", line.allowed), ("denied", line.denied)):
                if actions:
                    screen.print(f"  {word:11}{', '.join(actions)}", soft_wrap=True)
            for surprise in line.surprises:
                screen.print(f"  UNEXPECTED {surprise}", style="bold red", soft_wrap=True)
        for name in left_out:
            screen.print(f"! {name}: no token, not tried", style="yellow", soft_wrap=True)
    found_any = left_out or any(row.surprise for row in rows)
    raise typer.Exit(output.FOUND_SOMETHING if found_any else output.FINE)

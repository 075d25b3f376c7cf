"""``secure-xcom policy``: the access policy file and the service policies compiled from it."""

from __future__ import annotations

import typer

from secure_xcom.cli.policy.apply import policy_apply
from secure_xcom.cli.policy.compile import policy_compile
from secure_xcom.cli.policy.credentials import policy_credentials
from secure_xcom.cli.policy.lint import policy_lint
from secure_xcom.cli.policy.show import policy_show
from secure_xcom.cli.policy.verify import policy_verify

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show, check, compile, apply and verify the access policy.",
)


@app.callback()
def policy() -> None:
    """Show, check, compile, apply and verify the access policy."""


app.command("show", short_help="Show the resolved policy, or a DAG's compartment and why.")(policy_show)
app.command("lint", short_help="Find risky or unintended settings, with line and column.")(policy_lint)
app.command("compile", short_help="Write the policies of Vault, AWS, Google and Azure.")(policy_compile)
app.command("apply", short_help="Apply it to Vault and AWS; --dry-run shows the plan.")(policy_apply)
app.command("credentials", short_help="Make each identity's login and its workers' file.")(policy_credentials)
app.command("verify", short_help="Try at the services what it allows and forbids.")(policy_verify)

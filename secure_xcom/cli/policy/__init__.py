"""``secure-xcom policy``: the access policy file and what is made of it."""

from __future__ import annotations

import typer

from secure_xcom.cli.policy.apply import policy_apply
from secure_xcom.cli.policy.compile import policy_compile
from secure_xcom.cli.policy.lint import policy_lint
from secure_xcom.cli.policy.show import policy_show
from secure_xcom.cli.policy.verify import policy_verify

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The access policy: look at it, compile it for services, bring it into them, try it there.",
)


@app.callback()
def policy() -> None:
    """The access policy: look at it, compile it for services, bring it into them, try it there."""


app.command("show", short_help="The resolved policy, or where one DAG belongs and why.")(policy_show)
app.command("lint", short_help="What is risky or cannot be meant, with line and column.")(policy_lint)
app.command("compile", short_help="Write the policies of Vault, AWS, Google and Azure.")(policy_compile)
app.command("apply", short_help="Bring it into Vault and AWS; --dry-run shows the plan.")(policy_apply)
app.command("verify", short_help="Try at the services what it allows and what it forbids.")(policy_verify)

"""``secure-xcom audit``: the access log sealed, verified, searched, held against the key services' own logs."""

from __future__ import annotations

import typer

from secure_xcom.cli.audit.key import key
from secure_xcom.cli.audit.prove import prove
from secure_xcom.cli.audit.prune import prune
from secure_xcom.cli.audit.reconcile import reconcile
from secure_xcom.cli.audit.seal import seal
from secure_xcom.cli.audit.verify import verify

_HELP = "The access log: seal it, verify it, prove what is in it."

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


@app.callback()
def audit() -> None:
    """The access log: seal it, verify it, prove what is in it."""


app.command("key", short_help="Show, or make, the key that signs the sealed log.")(key)
app.command("seal", short_help="Copy finished chains into the sealed log and sign it.")(seal)
app.command("verify", short_help="Find what was changed, and where.")(verify)
app.command("prove", short_help="Write a proof that can be checked elsewhere.")(prove)
app.command("reconcile", short_help="Hold it against Vault's and CloudTrail's own logs.")(reconcile)
app.command("prune", short_help="Remove old entries; what remains stays provable.")(prune)

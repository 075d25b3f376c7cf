"""``secure-xcom audit``: the access log sealed, verified, searched, held against the key services' own logs."""

from __future__ import annotations

import typer

from secure_xcom.cli.audit.alarms import alarms
from secure_xcom.cli.audit.export import export
from secure_xcom.cli.audit.key import key
from secure_xcom.cli.audit.prove import prove
from secure_xcom.cli.audit.prune import prune
from secure_xcom.cli.audit.reconcile import reconcile
from secure_xcom.cli.audit.seal import seal
from secure_xcom.cli.audit.search import search
from secure_xcom.cli.audit.tail import tail
from secure_xcom.cli.audit.verify import verify

_HELP = "The access log: search it, seal it, verify it, hold it against key services."

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


@app.callback()
def audit() -> None:
    """The access log: search it, seal it, verify it, hold it against key services."""


app.command("tail", short_help="The newest events, and those to come.")(tail)
app.command("search", short_help="Who read this, what did this task read, what was refused.")(search)
app.command("export", short_help="Events into a CSV, JSON Lines or Parquet file.")(export)
app.command("key", short_help="Show, or make, the key that signs the sealed log.")(key)
app.command("seal", short_help="Copy finished chains into the sealed log and sign it.")(seal)
app.command("verify", short_help="Find what was changed, and where.")(verify)
app.command("prove", short_help="Write a proof that can be checked elsewhere.")(prove)
app.command("reconcile", short_help="Hold it against Vault's and CloudTrail's own logs.")(reconcile)
app.command("alarms", short_help="Hold new events against the access policy's alarms.")(alarms)
app.command("prune", short_help="Remove old entries; what remains stays provable.")(prune)

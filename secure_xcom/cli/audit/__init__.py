"""``secure-xcom audit``: search, anchor, verify and reconcile the access log."""

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

_HELP = "Search, anchor, verify and reconcile the access log."

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


@app.callback()
def audit() -> None:
    """Search, anchor, verify and reconcile the access log."""


app.command("tail", short_help="Show the newest events, and follow new ones.")(tail)
app.command("search", short_help="Find who read an XCom, what a task read, what was refused.")(search)
app.command("export", short_help="Write events to a CSV, JSON Lines or Parquet file.")(export)
app.command("key", short_help="Show or create the key that signs the sealed log.")(key)
app.command("seal", short_help="Anchor finished chains in the sealed log and sign it.")(seal)
app.command("verify", short_help="Find out what was changed, and where.")(verify)
app.command("prove", short_help="Write a proof that can be checked elsewhere.")(prove)
app.command("reconcile", short_help="Compare the log with Vault's and CloudTrail's own logs.")(reconcile)
app.command("alarms", short_help="Evaluate the access policy's alarms on new events.")(alarms)
app.command("prune", short_help="Remove old entries; the rest stays provable.")(prune)

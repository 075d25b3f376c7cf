"""``secure-xcom claims``: the claims table, and the end of exclusive XComs."""

from __future__ import annotations

import typer

from secure_xcom.cli import context, options
from secure_xcom.cli.job_command import add_job
from secure_xcom.ops.jobs import registry

_HELP = "Create the claims table, and shred exclusive XComs that were read."

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


@app.callback(help=_HELP)
def claims() -> None:
    """Group the commands on claims."""


@app.command("migrate", short_help="Create or upgrade the claims table.")
def migrate(config: options.Config = None, as_json: options.AsJson = False) -> None:
    """Create or upgrade the claims table in the database of [secure_xcom] claims_uri.

    Needs a database user that can create tables; tasks need SELECT and INSERT on claim_xcom.
    """
    from secure_xcom.claims.claim_table import ClaimTable
    from secure_xcom.claims.migrate import migrate as upgrade
    from secure_xcom.core.errors import SettingMissing

    uri = context.load(config).settings.claims_uri
    if uri is None:
        raise SettingMissing(
            "claims are kept in the stores, which need no table",
            where="[secure_xcom] claims_uri",
            remedy="to keep claims in a database, set it to db://CONN_ID or db+postgresql://...",
        )
    table = ClaimTable(uri)
    before, after = upgrade(table)
    line = f"{table.uri}: {'already at' if before == after else 'migrated to'} {after}"
    context.show({"database": table.uri, "before": before, "after": after}, [line], as_json=as_json)


add_job(app, registry.SHRED)

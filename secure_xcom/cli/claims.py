"""``secure-xcom claims``: the claims table, and the end of exclusive XComs."""

from __future__ import annotations

import typer

from secure_xcom.cli import context, declare, options
from secure_xcom.cli.job_command import add_job
from secure_xcom.ops.jobs import job_registry

app = declare.group("Create the claims table, and shred exclusive XComs that were read.")


def migrate(
    dry_run: options.DryRun = False, config: options.Config = None, as_json: options.AsJson = False
) -> None:
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
    before, after = upgrade(table, dry_run=dry_run)
    raise typer.Exit(context.show_upgrade(table.uri, before, after, dry_run=dry_run, as_json=as_json))


declare.add(
    app,
    "migrate",
    migrate,
    "Create or upgrade the claims table.",
    kind="sets up",
    found="with --dry-run: the table is missing or old",
    examples=("secure-xcom claims migrate --dry-run", "secure-xcom claims migrate"),
)
add_job(app, job_registry.SHRED)

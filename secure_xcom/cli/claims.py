"""``secure-xcom claims``: the table of claims, and the end of exclusive XComs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from secure_xcom.cli import context, options, output

_HELP = "Exclusive XComs: the table of claims, and shredding what was read."

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


@app.callback()
def claims() -> None:
    """Exclusive XComs: the table of claims, and shredding what was read."""


@app.command("migrate", short_help="Make the table of claims, or bring it up to date.")
def migrate(config: context.Config = None, as_json: options.AsJson = False) -> None:
    """Make the table of claims in the database of [secure_xcom] claims_uri, or bring it up to date.

    Run it as somebody who may make tables; tasks need SELECT and INSERT on claim_xcom.
    """
    from secure_xcom.claims.claim_table import ClaimTable
    from secure_xcom.claims.migrate import migrate as upgrade
    from secure_xcom.core.errors import SettingMissing

    uri = context.load(config).settings.claims_uri
    if uri is None:
        raise SettingMissing(
            "claims are kept in the stores, which need no table",
            where="[secure_xcom] claims_uri",
            remedy="set it to db://CONN_ID or db+postgresql://..., if claims are to be kept in a database",
        )
    table = ClaimTable(uri)
    before, after = upgrade(table)
    line = f"{table.uri}: {'already at' if before == after else 'migrated to'} {after}"
    context.show({"database": table.uri, "before": before, "after": after}, [line], as_json=as_json)


@app.command("shred", short_help="Shred exclusive XComs whose reader has succeeded.")
def shred(
    delete: Annotated[
        bool,
        typer.Option("--delete", help="Destroy keys, payloads and claims. Without it nothing is changed."),
    ] = False,
    config: context.Config = None,
    as_json: options.AsJson = False,
) -> None:
    """Shred exclusive XComs whose reader has succeeded: what tasks could not do themselves.

    Airflow's database is that of SECURE_XCOM_DB, else Airflow's own. What is under a legal hold stays. Exit code 1
    where anything is still to be done.
    """
    from secure_xcom.ops.jobs.shred import shred_all

    with context.at_work(config, as_json=as_json) as (here, database, progress):
        report = shred_all(
            here.policy,
            database,
            here.access_log,
            delete=delete,
            operator=context.operator(),
            ledger=here.ledger,
            progress=progress,
        )
    lines = [f"{report.due} exclusive XComs were read by a task that has succeeded"]
    if report.outlived:
        lines.append(f"{report.outlived} claims are on XComs that are gone" + ("; removed" if delete else ""))
    if delete:
        lines.append(f"shredded {report.done}, not wholly {report.left}")
    elif report.due or report.outlived:
        lines.append("nothing was changed: run it with --delete")
    lines += context.examples("could not be shredded:", report.failures, report.left + report.tampered)
    context.show(asdict(report), lines, as_json=as_json)
    raise typer.Exit(output.FOUND_SOMETHING if report.open else output.FINE)

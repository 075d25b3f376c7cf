"""``secure-xcom ui``: what the page in Airflow's UI shows of compartments."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import typer

from secure_xcom.cli import context, options, output

_HELP = "The page in Airflow's UI: the table of its numbers, and counting them."

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


@app.callback()
def ui() -> None:
    """The page in Airflow's UI: the table of its numbers, and counting them."""


@app.command("migrate", short_help="Make the table of numbers, or bring it up to date.")
def migrate(as_json: options.AsJson = False) -> None:
    """Make the table secure_xcom_numbers in Airflow's database, or bring it up to date.

    The database is that of SECURE_XCOM_DB, else Airflow's own. Run it as somebody who may make tables; who counts
    needs SELECT, INSERT and DELETE on the table, and the API server SELECT.
    """
    from secure_xcom.numbers.migrate import migrate as upgrade

    with context.database() as database, database.transaction("the table of numbers") as connection:
        before, after = upgrade(connection)
    line = f"{database.name}: {'already at' if before == after else 'migrated to'} {after}"
    context.show({"database": database.name, "before": before, "after": after}, [line], as_json=as_json)


@app.command("count", short_help="Count the XComs of each compartment.")
def count(config: context.Config = None, as_json: options.AsJson = False) -> None:
    """Count the XComs of each compartment, and keep the numbers for the page in Airflow's UI.

    The database is that of SECURE_XCOM_DB, else Airflow's own. Nothing is opened. Exit code 1 where there is no
    table yet: `secure-xcom ui migrate` makes it.
    """
    from secure_xcom.deployment import settings_source
    from secure_xcom.ops.audit_trail.read import readable, source
    from secure_xcom.ops.jobs.count import count as count_rows

    loaded = settings_source.load(config)
    sources = [partial(source, uri) for uri in loaded.sinks if readable(uri)]
    with context.database() as database, context.progress(as_json=as_json) as progress:
        report = count_rows(loaded.policy(), database, sources, progress=progress)
    line = "there is no table of numbers: run `secure-xcom ui migrate`"
    if report.made:
        sealed = f"{report.xcoms} sealed XComs of {report.compartments} compartments"
        rest = f"{report.plaintext} in plaintext, {report.unreadable} unreadable"
        line = f"{report.rows} rows counted: {sealed}, {rest}"
    context.show(asdict(report), [line], as_json=as_json)
    raise typer.Exit(output.FINE if report.made else output.FOUND_SOMETHING)

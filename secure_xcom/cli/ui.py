"""``secure-xcom ui``: what the page in Airflow's UI shows of compartments."""

from __future__ import annotations

import typer

from secure_xcom.cli import context, options, output
from secure_xcom.ops.jobs import registry

_HELP = "Create and fill the table of numbers for the page in Airflow's UI."

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)


@app.callback()
def ui() -> None:
    """Create and fill the table of numbers for the page in Airflow's UI."""


@app.command("migrate", short_help="Create or upgrade the table of numbers.")
def migrate(as_json: options.AsJson = False) -> None:
    """Create or upgrade the table secure_xcom_numbers in Airflow's database.

    The database is that of SECURE_XCOM_DB, else Airflow's own. Run it as a user who may create tables; who counts
    needs SELECT, INSERT and DELETE on the table, and the API server SELECT.
    """
    from contextlib import closing

    from secure_xcom.numbers.migrate import migrate as upgrade
    from secure_xcom.ops.xcom_table import Database, database_url

    with closing(Database(database_url())) as database, database.transaction("the table of numbers") as connection:
        before, after = upgrade(connection)
    line = f"{database.name}: {'already at' if before == after else 'migrated to'} {after}"
    context.show({"database": database.name, "before": before, "after": after}, [line], as_json=as_json)


@app.command("count", short_help="Count the XComs of each compartment.")
def count(config: options.Config = None, as_json: options.AsJson = False) -> None:
    """Count the XComs of each compartment, and keep the numbers for the page in Airflow's UI.

    The database is that of SECURE_XCOM_DB, else Airflow's own. Nothing is opened. Exit code 1 where there is no
    table yet: `secure-xcom ui migrate` makes it.
    """
    with context.job_context(config, as_json=as_json) as job:
        report = registry.count_xcoms(job)
    context.show(report.record(), report.lines(), as_json=as_json)
    raise typer.Exit(output.FINE if report.made else output.FOUND_SOMETHING)

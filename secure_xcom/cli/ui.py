"""``secure-xcom ui``: what the page in Airflow's UI shows of compartments."""

from __future__ import annotations

import typer

from secure_xcom.cli import context, declare, options
from secure_xcom.cli.job_command import add_job
from secure_xcom.ops.jobs import count_job

app = declare.group("Create and fill the table of numbers for the page in Airflow's UI.")


def migrate(dry_run: options.DryRun = False, as_json: options.AsJson = False) -> None:
    """Create or upgrade the table secure_xcom_numbers in Airflow's database.

    The database is that of SECURE_XCOM_DB, by default Airflow's own. Run it as a database user who may create
    tables. The user that counts needs SELECT, INSERT and DELETE on the table; the API server needs SELECT.
    """
    from contextlib import closing

    from secure_xcom.numbers.migrate import migrate as upgrade
    from secure_xcom.ops.xcom_table import Database, database_url

    with closing(Database(database_url())) as database, database.transaction("the table of numbers") as connection:
        before, after = upgrade(connection, dry_run=dry_run)
    raise typer.Exit(context.show_upgrade(database.name, before, after, dry_run=dry_run, as_json=as_json))


declare.add(
    app,
    "migrate",
    migrate,
    "Create or upgrade the table of numbers.",
    kind="sets up",
    found="with --dry-run: the table is missing or old",
    examples=("secure-xcom ui migrate --dry-run", "secure-xcom ui migrate"),
)
add_job(app, count_job.COUNT, kind="sets up")

"""Tables of our own, brought to this release's form by Alembic, alone in a database or beside other tables.

Each has a version table of its own, so nothing of Airflow's own migrations is touched in Airflow's database.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def bring_to(
    connection: Any, scripts: Path, version_table: str, to: str = "head", *, dry_run: bool = False
) -> tuple[str | None, str | None]:
    """Upgrade, or downgrade to ``base``; return the versions before and after. The caller's connection commits.

    :param connection: of SQLAlchemy; :param scripts: the folder of the migrations.
    :param dry_run: change nothing, and return the version that there would be.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    # ConfigParser takes a percent sign for the beginning of a name.
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["version_table"] = version_table
    before = version(connection, version_table)
    if dry_run:
        return before, None if to == "base" else ScriptDirectory.from_config(config).get_current_head()
    connection.rollback()
    config.attributes["connection"] = connection
    (command.downgrade if to == "base" else command.upgrade)(config, to)
    connection.commit()
    return before, version(connection, version_table)


def version(connection: Any, version_table: str) -> str | None:
    """Return the version that the database has; None before the first migration."""
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"version_table": version_table})
    return context.get_current_revision()

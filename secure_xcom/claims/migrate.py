"""The table of claims, brought to this release's form by Alembic, in a database of its own or beside other tables.

The version stands in a table of our own, ``secure_xcom_claims_version``, so nothing of Airflow's own migrations is
touched when the database is Airflow's.
"""

from __future__ import annotations

from pathlib import Path

from secure_xcom.claims.claim_table import ClaimTable

VERSION_TABLE = "secure_xcom_claims_version"
_SCRIPTS = Path(__file__).with_name("migrations")


def migrate(table: ClaimTable, *, to: str = "head") -> tuple[str | None, str | None]:
    """Upgrade, or downgrade to ``base``; the versions before and after.

    :raises ClaimsUnavailable: the database cannot be reached, or does not let this identity make tables.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    # ConfigParser takes a percent sign for the beginning of a name.
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["version_table"] = VERSION_TABLE
    with table.connection() as connection:
        before = _version(connection)
        connection.rollback()
        config.attributes["connection"] = connection
        (command.downgrade if to == "base" else command.upgrade)(config, to)
        connection.commit()
        return before, _version(connection)


def version(table: ClaimTable) -> str | None:
    """The version that the database has; None before the first migration."""
    with table.connection() as connection:
        return _version(connection)


def _version(connection: object) -> str | None:
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})  # type: ignore[arg-type]
    return context.get_current_revision()

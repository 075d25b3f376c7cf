"""The table of claims, brought to this release's form by Alembic, in a database of its own or beside other tables.

The version stands in a table of our own, ``secure_xcom_claims_version``, so nothing of Airflow's own migrations is
touched when the database is Airflow's.
"""

from __future__ import annotations

from pathlib import Path

from secure_xcom.claims.claim_table import ClaimTable
from secure_xcom.connections.migrations import bring_to
from secure_xcom.connections.migrations import version as version_of

VERSION_TABLE = "secure_xcom_claims_version"
_SCRIPTS = Path(__file__).with_name("migrations")


def migrate(table: ClaimTable, *, to: str = "head", dry_run: bool = False) -> tuple[str | None, str | None]:
    """Upgrade, or downgrade to ``base``; return the versions before and after.

    :param dry_run: change nothing, and return the version that there would be.
    :raises ClaimsUnavailable: the database cannot be reached, or does not let this identity make tables.
    """
    with table.connection() as connection:
        return bring_to(connection, _SCRIPTS, VERSION_TABLE, to, dry_run=dry_run)


def version(table: ClaimTable) -> str | None:
    """Return the version that the database has; None before the first migration."""
    with table.connection() as connection:
        return version_of(connection, VERSION_TABLE)

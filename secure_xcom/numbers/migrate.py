"""The table of numbers, made and brought up to date by Alembic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from secure_xcom.connections.migrations import bring_to

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSION_TABLE = "secure_xcom_numbers_version"
_SCRIPTS = Path(__file__).with_name("migrations")


def migrate(connection: Connection, *, to: str = "head", dry_run: bool = False) -> tuple[str | None, str | None]:
    """Upgrade, or downgrade to ``base``; return the versions before and after.

    :param dry_run: change nothing, and return the version that there would be.
    """
    return bring_to(connection, _SCRIPTS, VERSION_TABLE, to, dry_run=dry_run)

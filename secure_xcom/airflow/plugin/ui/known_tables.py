"""Which tables this Airflow has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secure_xcom.airflow.plugin.ui.tables import Tables
from secure_xcom.airflow.plugin.ui.tables_34 import Tables34
from secure_xcom.connections.sql.airflow_tables import Schema, schema_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

# Engines whose tables were looked at: a schema changes with an upgrade, which starts the API server anew.
_KNOWN: dict[Any, type[Tables]] = {}


def tables_of(session: Session) -> Tables:
    """Return the tables that this Airflow has.

    :raises TablesUnknown: they are of an Airflow that this release does not know.
    """
    bind = session.get_bind()
    engine = getattr(bind, "engine", bind)
    if engine not in _KNOWN:
        attempts = schema_of(session.connection()) is Schema.ATTEMPTS
        _KNOWN[engine] = Tables34 if attempts else Tables
    return _KNOWN[engine](session)

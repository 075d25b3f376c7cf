"""Which tables this Airflow has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from secure_xcom.airflow.plugin.ui.tables import Tables
from secure_xcom.airflow.plugin.ui.tables_34 import Tables34
from secure_xcom.core.errors import TablesUnknown

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
        _KNOWN[engine] = _kind(set(sa.inspect(session.connection()).get_table_names()))
    return _KNOWN[engine](session)


def _kind(names: set[str]) -> type[Tables]:
    if {"xcom_v2", "xcom_v1", "legacy_task_data_owner"} <= names and "xcom" not in names:
        return Tables34
    if "xcom" in names and "xcom_v2" not in names:
        return Tables
    raise TablesUnknown("Airflow's database has no tables of XComs as Airflow 3.1 to 3.4 have them", where="xcom")

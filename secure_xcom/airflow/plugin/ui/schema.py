"""Airflow's tables as Airflow 3.1 to 3.3 have them, as far as the page reads them."""

from __future__ import annotations

import sqlalchemy as sa
from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy.dialects import postgresql

_TIME = UtcDateTime()
RUN = sa.table(
    "dag_run",
    sa.column("id", sa.Integer),
    sa.column("dag_id", sa.String),
    sa.column("run_id", sa.String),
    sa.column("run_after", _TIME),
)
TASK = sa.table(
    "task_instance",
    sa.column("dag_id", sa.String),
    sa.column("run_id", sa.String),
    sa.column("task_id", sa.String),
)
XCOM = sa.table(
    "xcom",
    sa.column("dag_run_id", sa.Integer),
    sa.column("task_id", sa.String),
    sa.column("map_index", sa.Integer),
    sa.column("key", sa.String),
    sa.column("timestamp", _TIME),
    sa.column("value", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")),
)
ORDER = (XCOM.c.task_id, XCOM.c.map_index, XCOM.c.key)
"""The order of XComs within a run: the rest of the primary key."""
LOG = sa.table(
    "log",
    sa.column("event", sa.String),
    sa.column("owner", sa.String),
    sa.column("dttm", _TIME),
    sa.column("extra", sa.Text),
    sa.column("dag_id", sa.String),
    sa.column("run_id", sa.String),
    sa.column("task_id", sa.String),
)

"""Airflow's tables with XComs, in both of their schemas, and which of the two a database has.

Airflow 3.1 to 3.3 keep XComs in ``xcom``. Airflow 3.4 keeps them by attempt in ``xcom_v2``, and leaves those of
earlier releases in ``xcom_v1``; ``legacy_task_data_owner`` names the attempt of each. A row of ``xcom_v2`` hides
one of ``xcom_v1`` with the same attempt and key. ``task_instance`` has a row for each attempt, and the live one
has ``working_set``. Sources: airflow/models/xcom.py, taskinstance.py, dynamic_region.py, and migrations 0142 to
0144 of 3.4.0b2.
"""

from __future__ import annotations

from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeDecorator, TypeEngine

from secure_xcom.core.operator_errors import TablesUnknown

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Dialect


class Utc(TypeDecorator[datetime]):
    """A time in UTC: SQLite and MySQL store no time zone, and Airflow writes UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """See `TypeDecorator`."""
        return None if value is None else value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """See `TypeDecorator`."""
        return value.replace(tzinfo=timezone.utc) if value is not None and value.tzinfo is None else value


class RegionId(TypeDecorator[UUID]):
    """The id of a region, which MySQL stores as BINARY(16) (airflow/utils/sqlalchemy.py, CompactUUID)."""

    impl = sa.Uuid()
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """See `TypeDecorator`."""
        return dialect.type_descriptor(mysql.BINARY(16) if _is_mysql(dialect) else sa.Uuid())

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        """See `TypeDecorator`."""
        return value.bytes if value is not None and _is_mysql(dialect) else value

    def process_result_value(self, value: Any, _dialect: Dialect) -> UUID | None:
        """See `TypeDecorator`."""
        return value if value is None or isinstance(value, UUID) else UUID(bytes=bytes(value))


def _is_mysql(dialect: Dialect) -> bool:
    return dialect.name in ("mysql", "mariadb")


TOP_REGION = UUID(int=0)
"""The region of tasks of no loop and no expansion (airflow/models/dynamic_region.py, SENTINEL_REGION_ID)."""
PLACE = ("dag_id", "task_id", "run_id", "map_index")
"""The columns that ``legacy_task_data_owner`` and ``xcom_v1`` share."""

_IDS: tuple[tuple[str, type[TypeEngine[Any]]], ...] = (
    ("dag_id", sa.String), ("run_id", sa.String), ("task_id", sa.String),
)  # fmt: skip


def _ids() -> list[sa.ColumnClause[Any]]:
    return [sa.column(name, kind) for name, kind in _IDS]


def _content() -> list[sa.ColumnClause[Any]]:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    return [sa.column("key", sa.String), sa.column("value", json), sa.column("timestamp", Utc())]


def _by_coordinate(name: str) -> sa.TableClause:
    numbers = (sa.column("dag_run_id", sa.Integer), sa.column("map_index", sa.Integer))
    return sa.table(name, *_ids(), *numbers, *_content())


RUN = sa.table(
    "dag_run",
    *(sa.column(name, kind) for name, kind in (("id", sa.Integer), *_IDS[:2])),
    sa.column("run_after", Utc()),
    sa.column("end_date", Utc()),
    sa.column("state", sa.String),
)
TASK = sa.table("task_instance", *_ids(), sa.column("map_index", sa.Integer), sa.column("state", sa.String))
"""Up to Airflow 3.3."""
XCOM = _by_coordinate("xcom")
"""Up to Airflow 3.3."""

ATTEMPT = sa.table(
    "task_instance",
    sa.column("id", sa.Uuid()),
    *_ids(),
    sa.column("region_id", RegionId()),
    sa.column("region_index", sa.Integer),
    sa.column("try_number", sa.Integer),
    sa.column("working_set", sa.Boolean),
    sa.column("state", sa.String),
)
"""From Airflow 3.4 on."""
XCOM_V1 = _by_coordinate("xcom_v1")
XCOM_V2 = sa.table("xcom_v2", sa.column("task_instance_id", sa.Uuid()), *_content())
OWNER = sa.table(
    "legacy_task_data_owner",
    *_ids(),
    sa.column("map_index", sa.Integer),
    sa.column("task_instance_id", sa.Uuid()),
)
REGION = sa.table("dynamic_region", sa.column("id", RegionId()), sa.column("node_id", sa.String))

LOG = sa.table(
    "log",
    *(sa.column(name, sa.String) for name in ("event", "owner")),
    sa.column("dttm", Utc()),
    sa.column("extra", sa.Text),
    *_ids(),
)


REST_WRITES = ("create_xcom_entry", "update_xcom_entry")
"""Events of the table ``log`` that Airflow keeps of REST writes of XComs."""


def owned() -> sa.ColumnElement[bool]:
    """Return the condition that joins ``xcom_v1`` with the owner of its rows."""
    return sa.and_(*(XCOM_V1.c[name] == OWNER.c[name] for name in PLACE))


def hidden(attempt: sa.ColumnElement[Any]) -> sa.Exists:
    """Return the condition that a row of ``xcom_v2`` hides the row of ``xcom_v1``.

    :param attempt: the column with the id of the attempt that owns the row of ``xcom_v1``.
    """
    return (
        sa.select(sa.literal(1))
        .where(XCOM_V2.c.task_instance_id == attempt, XCOM_V2.c.key == XCOM_V1.c.key)
        .correlate_except(XCOM_V2)
        .exists()
    )


class Schema(Enum):
    """How Airflow keeps XComs."""

    COORDINATES = "Airflow 3.1 to 3.3"
    ATTEMPTS = "Airflow 3.4"


_NEEDED = {
    Schema.COORDINATES: (XCOM,),
    Schema.ATTEMPTS: (XCOM_V1, XCOM_V2, OWNER, ATTEMPT, REGION),
}


def schema_of(connection: Connection) -> Schema:
    """Return the schema that a database has.

    :raises TablesUnknown: it has neither, or both at once.
    """
    inspector = sa.inspect(connection)
    names = set(inspector.get_table_names())
    fitting = [
        schema
        for schema, tables in _NEEDED.items()
        if all(table.name in names and _has_columns(inspector, table) for table in tables)
    ]
    if len(fitting) == 1 and not (fitting == [Schema.COORDINATES] and "xcom_v2" in names):
        return fitting[0]
    where = f"the metadata database ({connection.dialect.name})"
    if "alembic_version" not in names and not fitting:
        raise TablesUnknown(
            "the database has no table xcom, so it is not Airflow's",
            where=where,
            remedy="name Airflow's own database in SECURE_XCOM_DB, with a user that may see its tables; "
            "`airflow db migrate` creates the tables of a new one",
        )
    revision = revision_of(connection) or "unknown"
    raise TablesUnknown(
        f"Airflow's database has the revision {revision}, and its tables of XComs are not "
        "those of Airflow 3.1 to 3.4",
        where=where,
    )


def _has_columns(inspector: sa.Inspector, table: sa.TableClause) -> bool:
    return set(table.c.keys()) <= {column["name"] for column in inspector.get_columns(table.name)}


def revision_of(connection: Connection) -> str | None:
    """Return the revision that Airflow's migrations note; None where this user may not read it."""
    version = sa.table("alembic_version", sa.column("version_num"))
    try:
        with connection.begin_nested():
            revision = connection.execute(sa.select(version.c.version_num)).scalar()
    except DBAPIError:
        # Maintenance needs no right on this table.
        return None
    return None if revision is None else str(revision)

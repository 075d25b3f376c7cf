"""Airflow's tables with XComs, from `airflow db migrate` of this environment's Airflow, and from stored dumps.

    python -m tests.support.airflow_schema      stores the dump of this environment's Airflow

A migration takes seconds, so its result is kept in the environment, by the version of Airflow. The other schema,
which another Airflow makes, comes from a dump; tests/unit/ops/test_airflow_schema.py compares each dump with what
its own Airflow makes.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from secure_xcom.connections.sql.airflow_tables import Schema

_DUMPS = Path(__file__).with_name("schemas")
_TABLES = (
    "alembic_version", "dag_run", "task_instance", "log", "xcom", "xcom_v1", "xcom_v2",
    "legacy_task_data_owner", "dynamic_region",
)  # fmt: skip
_IDS = ("dag_id", "run_id", "task_id", "key")
DUMPS = {Schema.COORDINATES: _DUMPS / "airflow-3.3.2.sql", Schema.ATTEMPTS: _DUMPS / "airflow-3.4.0b2.sql"}


@cache
def migrated_database() -> Path:
    """Return the SQLite file of an empty metadata database, made by this environment's own Airflow."""
    folder = Path(sys.prefix) / "secure-xcom-tests"
    folder.mkdir(exist_ok=True)
    file = folder / f"airflow-{version('apache-airflow-core')}.db"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            with tempfile.TemporaryDirectory(dir=folder) as home:
                migrate(f"sqlite:///{home}/airflow.db", Path(home))
                (Path(home) / "airflow.db").rename(file)
    return file


def migrate(url: str, home: Path, python: str = sys.executable) -> None:
    """Run `airflow db migrate` on a database.

    :param python: the interpreter of the environment whose Airflow does it.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
    }
    done = subprocess.run(
        [python, "-m", "airflow", "db", "migrate"],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def statements_of(file: Path) -> list[str]:
    """Return the statements that make the tables with XComs in a database, in one spelling."""
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name"
        rows = connection.execute(query).fetchall()
    return [re.sub(r"\s+", " ", sql).strip() for name, sql in rows if name in _TABLES]


def dump_of(file: Path) -> str:
    """Return a dump of the tables with XComs in a database, with its revision."""
    with closing(sqlite3.connect(file)) as connection:
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    noted = "INSERT INTO alembic_version VALUES ('{}')".format(revision)  # noqa: S608, UP032  # Airflow's own
    return "".join(f"{statement};\n" for statement in (*statements_of(file), noted))


@cache
def _script(schema: Schema) -> str:
    if (version("apache-airflow-core") >= "3.4") == (schema is Schema.ATTEMPTS):
        return dump_of(migrated_database())
    return DUMPS[schema].read_text()


@cache
def _database(schema: Schema) -> bytes:
    """Return an SQLite file with empty tables, so that a test's own database is a copy."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "airflow.db"
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(_script(schema))
        return file.read_bytes()


def make_tables(engine: sa.Engine, schema: Schema) -> bool:
    """Make the tables with XComs in an empty database.

    :return: whether they are new; tables that are there stay as they are.
    """
    file = Path(engine.url.database or "")
    if engine.dialect.name == "sqlite" and not file.exists():
        file.write_bytes(_database(schema))
        return True
    if "alembic_version" in sa.inspect(engine).get_table_names():
        return False
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.executescript(_script(schema))
        finally:
            connection.close()
        return True
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.executescript(_script(schema))
        reflected = sa.MetaData()
        reflected.reflect(sa.create_engine("sqlite://", creator=lambda: memory), resolve_fks=False)
    tables = sa.MetaData()
    for table in reflected.tables.values():
        columns = [
            sa.Column(
                each.name,
                _on_server(each, engine.dialect.name),
                primary_key=each.primary_key,
                nullable=each.nullable,
                server_default=_default(each),
            )
            for each in table.columns
        ]
        unique = [each for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
        # Partial indexes have conditions in SQLite's words.
        indexes = [each for each in table.indexes if not each.dialect_kwargs]
        sa.Table(
            table.name,
            tables,
            *columns,
            *(sa.UniqueConstraint(*each.columns.keys(), name=each.name) for each in unique),
            *(sa.Index(str(each.name), *each.columns.keys()) for each in indexes),
        )
    tables.create_all(engine)
    return True


def _default(column: sa.Column[Any]) -> Any:
    """Return a number or text that the database fills in; other defaults are in SQLite's words."""
    default = column.server_default
    plain = isinstance(column.type, sa.Integer | sa.VARCHAR)
    return default.arg if plain and isinstance(default, sa.DefaultClause) else None


def _on_server(column: sa.Column[Any], dialect: str) -> sa.types.TypeEngine[Any]:
    """Return the type that Airflow's migrations give a column on PostgreSQL or MySQL."""
    kind, postgres = column.type, dialect == "postgresql"
    if isinstance(kind, sa.JSON):
        return postgresql.JSONB() if column.name == "value" and postgres else sa.JSON()
    if column.name == "region_id" and not postgres:
        # airflow/utils/sqlalchemy.py, CompactUUID
        return mysql.BINARY(16)
    if isinstance(kind, sa.BLOB):
        return sa.LargeBinary()
    if isinstance(kind, sa.CHAR):
        return sa.Uuid()
    if isinstance(kind, sa.TIMESTAMP | sa.DateTime):
        return sa.TIMESTAMP(timezone=True) if postgres else mysql.TIMESTAMP(fsp=6)
    if isinstance(kind, sa.String) and column.name in _IDS and not postgres:
        # airflow/models/base.py, get_id_collation_args
        return mysql.VARCHAR(kind.length, collation="utf8mb3_bin")
    return kind


if __name__ == "__main__":
    own = Schema.ATTEMPTS if version("apache-airflow-core") >= "3.4" else Schema.COORDINATES
    DUMPS[own].write_text(dump_of(migrated_database()))

"""Which schema Airflow's tables have, and whether the stored dumps are what Airflow makes."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import sqlalchemy

from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.connections.sql.positions import AttemptPosition, TaskPosition
from secure_xcom.core.operator_errors import TablesUnknown
from tests.support.airflow_schema import DUMPS, dump_of, migrated_database
from tests.support.xcom_table import XComTable


@pytest.fixture(params=Schema)
def table(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[XComTable]:
    """New tables of each schema."""
    made = XComTable(f"sqlite:///{tmp_path}/airflow.db", request.param)
    yield made
    made.close()


def test_the_schema_is_known_by_what_the_database_has(table: XComTable) -> None:
    """Nobody has to say which Airflow it is."""
    assert table.database().schema is table.schema


def test_an_unknown_schema_is_refused_with_its_revision(table: XComTable) -> None:
    """A later Airflow's database, or one in the middle of an upgrade, is neither read nor changed."""
    name = "xcom" if table.schema is Schema.COORDINATES else "xcom_v2"
    table.execute(f"ALTER TABLE {name} RENAME COLUMN value TO other")
    table.execute("UPDATE alembic_version SET version_num = 'cafe12345678'")
    with pytest.raises(TablesUnknown, match="cafe12345678") as caught:
        list(table.database().rows())
    assert "install a release of secure-xcom" in caught.value.remedy


@pytest.mark.skipif(
    version("apache-airflow-core") not in ("3.3.2", "3.4.0b2"), reason="no dump of this Airflow is stored"
)
def test_the_stored_dump_is_what_airflow_makes() -> None:
    """Tests of the other schema run on the tables that its own Airflow has made."""
    schema = Schema.ATTEMPTS if version("apache-airflow-core") >= "3.4" else Schema.COORDINATES
    assert dump_of(migrated_database()) == DUMPS[schema].read_text()


@pytest.mark.parametrize("schema", Schema)
def test_every_page_is_read_by_an_index(tmp_path: Path, schema: Schema) -> None:
    """Ten million rows are read page by page, so no statement may sort them or go through a whole table."""
    table = XComTable(f"sqlite:///{tmp_path}/airflow.db", schema)
    plans: list[str] = []

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
    def explain(connection, cursor, statement, parameters, *_: object) -> None:  # type: ignore[no-untyped-def]
        if "JOIN" in statement or "FROM xcom" in statement:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(f"{row[-1]} ({statement})" for row in cursor.fetchall())

    database = table.database()
    try:
        list(database.rows(TaskPosition(1, "t", -1, "k")))
        if schema is Schema.ATTEMPTS:
            list(database.rows(AttemptPosition("0" * 32, "k")))
        list(database.of_tasks([("d", "r", "t", -1), ("d", "r", "m", 3)], key="k"))
        list(database.hidden_rows())
        database.task_states("d", "r", "t", -1)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", explain)
    assert plans
    in_memory = ("CONSTANT ROW", "INDEX")
    slow = [plan for plan in plans if plan.startswith("SCAN") and not any(word in plan for word in in_memory)]
    assert [plan for plan in plans if "TEMP B-TREE" in plan] == slow == []

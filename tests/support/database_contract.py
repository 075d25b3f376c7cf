"""What every database must do that Airflow runs on: on SQLite in tests/unit, on PostgreSQL in tests/real."""

from __future__ import annotations

from typing import Any

import pytest

from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.operator_errors import DatabaseFailed
from secure_xcom.ops.xcom_table import TEXT_MAX_CHARACTERS, Database
from tests.support.world import coordinate
from tests.support.xcom_table import XComTable


class DatabaseContract:
    """A subclass brings the fixture ``table``."""

    def test_every_row_is_read_once_whatever_the_page(self, table: XComTable) -> None:
        """Pages of any size give the same rows, in the order of their keys, mapped and oddly named ones too."""
        made = [
            coordinate(run_id=f"run {run}", task_id=task, map_index=index, key=key)
            for run in range(3)
            for task in ("a", "B", "ä_%'\"")
            for index in (-1, 0, 10)
            for key in ("return_value", "x\\y")
        ]
        table.put_many((at, {"n": number}) for number, at in enumerate(made))
        database = table.database()
        for page in (1, 7, 54, 100):
            read = [row.coordinate for row in database.rows(page=page)]
            assert sorted(map(str, read)) == sorted(map(str, made))
        database.close()

    def test_reading_goes_on_behind_a_position(self, table: XComTable) -> None:
        """What was read up to a position and what is read behind it are all rows, once each."""
        table.put_many((coordinate(map_index=index), index) for index in range(20))
        database = table.database()
        every = list(database.rows())
        for cut in (0, 5, 19):
            assert list(database.rows(every[cut].position)) == every[cut + 1 :]
        assert database.count() == 20
        database.close()

    def test_a_row_is_changed_only_as_it_was_read(self, table: XComTable) -> None:
        """A replacement by one who read an older value, or of a deleted row, does nothing and says so."""
        table.put(coordinate(), {"b": 1, "a": [1.5, None, "ü"]})
        database = table.database()
        first, second = next(database.rows()), next(database.rows())
        assert database.replace(first, {"new": True})
        assert not database.replace(second, {"late": True})
        assert not database.delete(second)
        assert table.value(coordinate()) == {"new": True}
        current = database.one(first.position)
        assert current is not None
        assert current.value == {"new": True}
        assert database.delete(current)
        assert not database.replace(current, {"gone": True})
        assert database.one(first.position) is None
        database.close()

    def test_upper_and_lower_case_differ(self, table: XComTable) -> None:
        """A row that differs from what was read in the case of a letter only is another one."""
        table.put(coordinate(), {"wrapped": "abC"})
        database = table.database()
        row = next(database.rows())
        table.put(coordinate(), {"wrapped": "abc"})
        assert not database.replace(row, {"late": True})
        database.close()

    @pytest.mark.parametrize("value", [None, "text", 5, True, [], {}, "x" * 1000, {"a": {"b": ["c"]}}])
    def test_any_json_value_is_read_and_can_be_replaced(self, table: XComTable, value: Any) -> None:
        """Every kind of JSON value comes back as it is, and the compare-and-swap holds for it."""
        table.put(coordinate(), value)
        database = table.database()
        row = next(database.rows())
        assert row.value == value
        assert database.replace(row, {"now": value})
        assert table.value(coordinate()) == {"now": value}
        database.close()

    def test_a_long_value_is_not_read_with_its_page(self, table: XComTable) -> None:
        """A value over the limit is left in the database until it is asked for; its object is looked up there."""
        named = {"secure_xcom": 1, "head": {"object": "memory://x/y"}, "fill": "x" * TEXT_MAX_CHARACTERS}
        table.put(coordinate(), named)
        table.put(coordinate(key="plain"), "y" * (TEXT_MAX_CHARACTERS + 1))
        database = table.database()
        rows = {row.key: row for row in database.rows()}
        assert {row.text for row in rows.values()} == {None}
        assert rows["plain"].size > TEXT_MAX_CHARACTERS
        assert database.object_of(rows["return_value"].position) == "memory://x/y"
        assert database.object_of(rows["plain"].position) is None
        assert len(database.whole_text(rows["plain"].position) or "") > TEXT_MAX_CHARACTERS
        with pytest.raises(DatabaseFailed):
            database.replace(rows["plain"], 1)
        database.close()

    def test_the_rows_of_given_tasks_are_found(self, table: XComTable) -> None:
        """Asked for task instances, the database gives all their rows and no others."""
        table.put_many((coordinate(map_index=index, key=key), 1) for index in range(300) for key in ("a", "b"))
        database = table.database()
        wanted = [("orders", coordinate().run_id, "extract", index) for index in range(0, 300, 2)]
        found = [row.coordinate for row in database.of_tasks([*wanted, *wanted, ("no", "such", "task", -1)])]
        assert len(found) == len(set(found)) == 300
        assert {at.map_index for at in found} == set(range(0, 300, 2))
        database.close()

    def test_tables_are_listed_and_counted(self, table: XComTable) -> None:
        """The tables of the database are listed by name, with their sizes."""
        table.put(coordinate(), 1)
        table.execute("CREATE TABLE _airflow_deleted__xcom__20260101 (value TEXT)")
        database = table.database()
        name = "xcom" if table.schema is Schema.COORDINATES else "xcom_v2"
        assert {"_airflow_deleted__xcom__20260101", name} <= set(database.tables())
        assert database.size_of(name) == 1
        assert database.size_of("_airflow_deleted__xcom__20260101") == 0
        database.close()


def refuses_without_telling(url: str, secret: str) -> None:
    """Hold that a database that cannot be reached is an error of ours that repeats nothing of the URL."""
    with pytest.raises(DatabaseFailed) as caught:
        list(Database(url).rows())
    assert secret not in f"{caught.value!s} {caught.value!r}"
    assert caught.value.__cause__ is None

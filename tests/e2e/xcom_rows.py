"""What a query of tests takes Airflow's XComs from: a table up to 3.3, the rows of live attempts from 3.4 on."""

from __future__ import annotations

from tests.support.airflow34 import installed_series

_XCOMS = (
    "xcom"
    if installed_series() < (3, 4)
    else (
        "(SELECT t.dag_id, t.run_id, t.task_id, COALESCE(t.region_index, -1) AS map_index, x.key, x.value"
        " FROM xcom_v2 x JOIN task_instance t ON t.id = x.task_instance_id WHERE t.working_set)"
    )
)


def select_xcoms(columns: str, rest: str = "") -> str:
    """Return a query of XComs by their coordinates, for SQLite."""
    return f"SELECT {columns} FROM {_XCOMS} {rest}"  # noqa: S608  # all of it is the tests' own text

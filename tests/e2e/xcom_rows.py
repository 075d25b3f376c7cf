"""What queries of tests take Airflow's XComs and the like from: from 3.4 on the rows of live attempts."""

from __future__ import annotations

from tests.support.airflow34 import installed_series

_BY_COORDINATE = installed_series() < (3, 4)
_TASK_INSTANCES = (
    "task_instance"
    if _BY_COORDINATE
    else ("(SELECT *, COALESCE(region_index, -1) AS map_index FROM task_instance WHERE working_set)")
)
_RENDERED_FIELDS = (
    "rendered_task_instance_fields"
    if _BY_COORDINATE
    else (
        "(SELECT t.dag_id, t.task_id, f.rendered_fields FROM rtif_v2 f"
        " JOIN task_instance t ON t.id = f.task_instance_id WHERE t.working_set)"
    )
)
_XCOMS = (
    "xcom"
    if _BY_COORDINATE
    else (
        "(SELECT t.dag_id, t.run_id, t.task_id, COALESCE(t.region_index, -1) AS map_index, x.key, x.value"
        " FROM xcom_v2 x JOIN task_instance t ON t.id = x.task_instance_id WHERE t.working_set)"
    )
)


def select_xcoms(columns: str, rest: str = "") -> str:
    """Return a query of XComs by their coordinates, for SQLite."""
    return _select(columns, _XCOMS, rest)


def select_task_instances(columns: str, rest: str = "") -> str:
    """Return a query of task instances by their coordinates, for SQLite."""
    return _select(columns, _TASK_INSTANCES, rest)


def select_rendered_fields(columns: str, rest: str = "") -> str:
    """Return a query of rendered fields by the DAG id and task id, for SQLite."""
    return _select(columns, _RENDERED_FIELDS, rest)


def _select(columns: str, source: str, rest: str) -> str:
    return f"SELECT {columns} FROM {source} {rest}"  # noqa: S608  # all of it is the tests' own text

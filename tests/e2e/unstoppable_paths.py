"""The leak hunt's paths that no backend, mask or hook reaches, and where each leaves its value.

The table of docs/threat-model.md lists the same paths. The raw bytes of the database's file, where they are found
as well, are left out here. The tests require that they are found, so that a change of Airflow's is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from packaging.version import Version

AIRFLOW = Version(metadata.version("apache-airflow-core")).release[:2]
TASK_LOG = "task log"
OUTPUT = "output of the scheduler"
RENDERED = f"table {'rtif_v2' if AIRFLOW >= (3, 4) else 'rendered_task_instance_fields'}.rendered_fields"
XCOM = "table xcom_v2.value" if AIRFLOW >= (3, 4) else "table xcom.value"

EVERY_PATH: Mapping[str, set[str]] = {
    "REST write of an XCom": {XCOM, "table log.extra"},
    "TaskSuccessEvent xcoms": {XCOM},
    "operator extra link": {XCOM},
    "trigger event payload": {TASK_LOG},
    "trigger argument": {"table trigger.kwargs"},
    "defer kwargs": {"table task_instance.next_kwargs"},
    "map_index_template": {"table task_instance.rendered_map_index"},
    "dag_run.conf": {"table dag_run.conf", "table log.extra"},
    "asset event extra": {"table asset_event.extra"},
    "task state store": {"table task_state_store.value"},
    "asset state store": {"table asset_state_store.value"},
    "reason of a loop's decision": {XCOM},
    "number as argument": {RENDERED},
    "number under a sensitive name as argument": {RENDERED},
    "changed before it is printed": {TASK_LOG, OUTPUT},
    "file written by the task": {"folder written-by-a-task.txt"},
}
"""Path -> where the hunt finds it."""

_SINCE = {"task state store": (3, 3), "asset state store": (3, 3), "reason of a loop's decision": (3, 4)}

UNSTOPPABLE: Mapping[str, set[str]] = {
    path: places for path, places in EVERY_PATH.items() if _SINCE.get(path, AIRFLOW) <= AIRFLOW
}
"""The paths that the installed Airflow has."""

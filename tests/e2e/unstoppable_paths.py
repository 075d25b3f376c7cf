"""What no backend, mask or hook reaches in Airflow 3.3.2: the hunt's paths, and where each is found.

The same list as the table of docs/threat-model.md. Found in the raw bytes of the database's file as well, which is
left out here. That they are found is held, so that a change of Airflow's is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping

TASK_LOG = "task log"
OUTPUT = "output of the scheduler"
RENDERED = "table rendered_task_instance_fields.rendered_fields"
XCOM = "table xcom.value"

UNSTOPPABLE: Mapping[str, set[str]] = {
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
    "number as argument": {RENDERED},
    "number under a sensitive name as argument": {RENDERED},
    "changed before it is printed": {TASK_LOG, OUTPUT},
    "file written by the task": {"folder written-by-a-task.txt"},
}

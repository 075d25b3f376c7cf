"""The leak hunt's paths that no backend, mask or hook reaches, and where each leaves its value.

The table of what-bypasses-xcom.md lists the same paths. The raw bytes of the database's file, where they are found
as well, are left out here. The tests require that they are found, so that a change of Airflow's is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata

from packaging.version import Version

AIRFLOW = Version(metadata.version("apache-airflow-core")).release
TASK_LOG = "task log"
OUTPUT = "output of the scheduler"
_RENDERED = "table rendered_task_instance_fields.rendered_fields"
_XCOM = "table xcom.value"

EVERY_PATH: Mapping[str, set[str]] = {
    "REST write of an XCom": {_XCOM, "table log.extra"},
    "TaskSuccessEvent xcoms": {_XCOM},
    "operator extra link": {_XCOM},
    "trigger event payload": {TASK_LOG},
    "trigger argument": {"table trigger.kwargs"},
    "defer kwargs": {"table task_instance.next_kwargs"},
    "map_index_template": {"table task_instance.rendered_map_index"},
    "dag_run.conf": {"table dag_run.conf", "table log.extra"},
    "asset event extra": {"table asset_event.extra"},
    "task state store": {"table task_state_store.value"},
    "asset state store": {"table asset_state_store.value"},
    "reason of a loop's decision": {_XCOM, TASK_LOG, OUTPUT},
    "number as argument": {_RENDERED},
    "number under a sensitive name as argument": {_RENDERED},
    "changed before it is printed": {TASK_LOG, OUTPUT},
    "file written by the task": {"folder written-by-a-task.txt"},
}
"""Path -> where the hunt finds it, by the names that Airflow up to 3.3 gives its tables."""

_SINCE = {"task state store": (3, 3), "asset state store": (3, 3), "reason of a loop's decision": (3, 4)}
# From 3.4 on Airflow masks the body in its action log, and logs an event's payload at the level DEBUG only.
_GONE_IN_34 = {"REST write of an XCom": {"table log.extra"}, "trigger event payload": {TASK_LOG}}
_NAMES_IN_34 = {_XCOM: "table xcom_v2.value", _RENDERED: "table rtif_v2.rendered_fields"}
# What Airflow 3.1 leaves besides: it logs the rendered name of a map index. 3.1.0 also keeps what a trigger gave.
_BESIDES_IN_31 = {"map_index_template": {TASK_LOG}}
# The API server of Airflow 3.2 logs what it gets of an event.
_BESIDES_IN_32 = {"asset event extra": {"output of the api-server"}}
_BESIDES_IN_310 = {"trigger event payload": {"table task_instance.next_kwargs"}}
COPIED = {OUTPUT} if AIRFLOW >= (3, 2) else set()
"""Where Airflow copies the lines of a task's log: 3.1 copies none."""


def _here(place: str) -> str:
    return _NAMES_IN_34.get(place, place) if AIRFLOW >= (3, 4) else place


def _unstoppable() -> Iterator[tuple[str, set[str]]]:
    for path, every in EVERY_PATH.items():
        places = every - {OUTPUT} | (COPIED & every)
        if AIRFLOW >= (3, 4):
            places -= _GONE_IN_34.get(path, set())
        if AIRFLOW < (3, 2):
            places |= _BESIDES_IN_31.get(path, set())
        if AIRFLOW[:2] == (3, 2):
            places |= _BESIDES_IN_32.get(path, set())
        if AIRFLOW == (3, 1, 0):
            places |= _BESIDES_IN_310.get(path, set())
        if _SINCE.get(path, AIRFLOW) <= AIRFLOW and places:
            yield path, set(map(_here, places))


RENDERED = _here(_RENDERED)
XCOM = _here(_XCOM)
UNSTOPPABLE: Mapping[str, set[str]] = dict(_unstoppable())
"""The paths that the installed Airflow has."""

"""Attempts and loops of Airflow 3.4: which iteration a task instance is in, and which one a question reaches.

What a reader knows of the answer, and what it cannot know, is in docs/spec.md, "Attempts and iterations".
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any
from uuid import UUID

from secure_xcom.core.coordinate import Asked

_DEFINITIONS = "airflow.sdk.definitions._internal.loop"
_NO_REGION = UUID(int=0)


def iteration_of(instance: Any) -> int | None:
    """Return the iteration of the loop that a task instance is in; None outside of loops.

    :param instance: Airflow's, of a task or of a trigger.
    """
    loop = getattr(getattr(instance, "_ti_context_from_server", None), "loop", None)
    if loop is not None:
        return int(loop.index)
    region = getattr(instance, "region_id", None)
    # A mapped task's region is its expansion, a trigger is told no more than that.
    in_loop = region not in (None, _NO_REGION) and instance.map_index in (None, -1)
    return int(instance.region_index) if in_loop else None


def reach(asked: Asked, instance: Any, *, previous: bool = False, several: bool = False) -> Asked:
    """Return a question with what a task instance knows of the attempt and the iteration that must answer.

    :param instance: Airflow's, of the task that asks.
    :param previous: whether it asks for its loop's previous iteration.
    :param several: whether it asks for all values of a task: from outside of a loop, those of all iterations.
    """
    if (asked.dag_id, asked.run_id) != (instance.dag_id, instance.run_id):
        return asked
    if several:
        outside = _is_outside(asked.task_id, instance)
        if outside or outside is None:
            return replace(asked, every_iteration=bool(outside))
    own_index = -1 if instance.map_index is None else instance.map_index
    asked_index = -1 if asked.map_index is None else asked.map_index
    if (asked.task_id, asked_index) == (instance.task_id, own_index) and not previous:
        asked = replace(asked, attempt=str(instance.id))
    iteration = iteration_of(instance)
    return asked if iteration is None else replace(asked, iteration=iteration - previous)


def _is_outside(task_id: str, instance: Any) -> bool | None:
    """Return whether a task of the same DAG is in a loop that the instance is not in; None where nobody knows."""
    definitions = sys.modules.get(_DEFINITIONS)
    task = getattr(instance, "task", None)
    producer = None if task is None else task.dag.task_dict.get(task_id)
    if definitions is None or producer is None:
        return None
    return bool(definitions.is_loop_task_read_from_outside(producer, task))

"""Attempts and loops of Airflow 3.4: which iteration a task instance is in, and which one a question reaches.

docs/reference/format.md, "Attempts and iterations", says what a reader knows of the answer and what it cannot.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any
from uuid import UUID

from secure_xcom.airflow import task_context
from secure_xcom.core.attempt import Attempt
from secure_xcom.core.coordinate import Asked, TaskTry

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


def attempt_of(stored: Any, task: TaskTry | None, instance: Any = None) -> Attempt | None:
    """Return the attempt whose XCom is stored; None where nothing is known of it.

    :param stored: Airflow's ``XComCoordinate``, which names an attempt only where it stores an XCom of its own.
    :param task: the try that stores it, where it is known.
    :param instance: Airflow's, of the same task; its DAG tells whether it is in one loop with another task.
    """
    iteration = None
    if task is not None and (stored.dag_id, stored.run_id) == (task.dag_id, task.run_id):
        is_own = str(stored.ti_id) == task.attempt
        # What one task of a loop stores for another one is of their common iteration.
        if is_own or (stored.ti_id is None and instance is not None and _in_own_loop(stored.task_id, instance)):
            iteration = task.iteration
    return Attempt.of(stored.ti_id, stored.region_id, stored.region_index, iteration)


def attempt_of_push(coordinate: Any) -> Attempt | None:
    """Return the attempt whose XCom the running task or trigger pushes, as far as Airflow tells: see `attempt_of`.

    :param coordinate: Airflow's ``XComCoordinate``.
    """
    return attempt_of(coordinate, task_context.acting(), task_context.current_instance())


def map_index_of(coordinate: Any) -> int:
    """Return the map index of a push that names its task instance only; -1 where it is not the caller's own."""
    instance = task_context.current_instance()
    is_own = instance is not None and str(instance.id) == str(coordinate.ti_id)
    return -1 if not is_own or instance.map_index is None else int(instance.map_index)


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
    if iteration is None or _in_own_loop(asked.task_id, instance) is False:
        return asked
    return replace(asked, iteration=iteration - previous)


def _in_own_loop(task_id: str, instance: Any) -> bool | None:
    """Return whether a task of the same DAG is in the loop that the instance is in; None where nobody knows."""
    known = _loops(task_id, instance)
    return None if known is None else None not in known and known[0] == known[1]


def _is_outside(task_id: str, instance: Any) -> bool | None:
    """Return whether a task of the same DAG is in a loop that the instance is not in; None where nobody knows."""
    known = _loops(task_id, instance)
    return None if known is None else known[0] not in (None, known[1])


def _loops(task_id: str, instance: Any) -> tuple[str | None, str | None] | None:
    """Return the loops of a task and of an instance in one DAG; None where nobody knows, as in a triggerer."""
    definitions = sys.modules.get(_DEFINITIONS)
    task = getattr(instance, "task", None)
    other = None if task is None else task.dag.task_dict.get(task_id)
    if definitions is None or other is None:
        return None
    other_loop, own_loop = definitions.get_enclosing_loop(other), definitions.get_enclosing_loop(task)
    return None if other_loop is None else other_loop.group_id, None if own_loop is None else own_loop.group_id

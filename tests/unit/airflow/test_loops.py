"""What a task of Airflow 3.4 knows of the attempt and iteration that must answer, on doubles of its objects."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from secure_xcom.airflow import loops
from secure_xcom.core.attempt import Attempt
from secure_xcom.core.coordinate import Asked, TaskTry

ATTEMPT, REGION = UUID("019be2a1-0000-7000-8000-000000000001"), UUID("019be2a1-0000-7000-8000-0000000000f0")
ASKED = Asked("d", "other", "k", "r", -1)


@pytest.fixture(autouse=True)
def _airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow 3.4's definitions of loops, as this version's Airflow may have none."""
    double = SimpleNamespace(
        get_enclosing_loop=lambda operator: operator.loop and SimpleNamespace(group_id=operator.loop)
    )
    monkeypatch.setitem(sys.modules, "airflow.sdk.definitions._internal.loop", double)


def instance(iteration: int | None = 2, **changes: Any) -> Any:
    """A task instance in the loop ``body``, or outside of it."""
    loop = None if iteration is None else "body"
    dag = SimpleNamespace(
        task_dict={
            "other": SimpleNamespace(loop="body"),
            "elsewhere": SimpleNamespace(loop="second"),
            "plain": SimpleNamespace(loop=None),
            "t": SimpleNamespace(loop=loop),
        }
    )
    fields = {
        "id": ATTEMPT, "dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1,
        "region_id": UUID(int=0) if iteration is None else REGION,
        "region_index": -1 if iteration is None else iteration,
        "task": SimpleNamespace(dag=dag, loop=loop),
        "_ti_context_from_server": SimpleNamespace(loop=loop and SimpleNamespace(index=iteration)),
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **changes})


def test_the_iteration_of_a_task_instance() -> None:
    """Airflow's context says it, and without one the region of a task that is not mapped."""
    assert loops.iteration_of(instance(None)) is None
    mapped = {"map_index": 7, "region_index": 7}
    assert [loops.iteration_of(instance()), loops.iteration_of(instance(**mapped))] == [2, 2]
    # A trigger's task instance has no context from the server.
    trigger = {"_ti_context_from_server": None}
    assert loops.iteration_of(instance(**trigger)) == 2
    assert loops.iteration_of(instance(**trigger, **mapped)) is None


@pytest.mark.parametrize(
    ("asked", "reader", "options", "known"),
    [
        (ASKED, instance(), {}, {"iteration": 2}),
        (ASKED, instance(), {"previous": True}, {"iteration": 1}),
        (ASKED, instance(), {"several": True}, {"iteration": 2}),
        (ASKED, instance(None), {}, {}),
        (ASKED, instance(None), {"several": True}, {"every_iteration": True}),
        (replace(ASKED, task_id="elsewhere"), instance(), {"several": True}, {"every_iteration": True}),
        (replace(ASKED, task_id="plain"), instance(None), {"several": True}, {}),
        (replace(ASKED, task_id="gone"), instance(), {"several": True}, {}),
        (replace(ASKED, task_id="plain"), instance(), {}, {}),
        (replace(ASKED, task_id="gone"), instance(), {}, {"iteration": 2}),
        (ASKED, instance(task=None), {}, {"iteration": 2}),
        (replace(ASKED, run_id=None), instance(), {}, {}),
        (replace(ASKED, dag_id="another"), instance(), {}, {}),
        (replace(ASKED, task_id="t"), instance(), {}, {"iteration": 2, "attempt": str(ATTEMPT)}),
        (replace(ASKED, task_id="t"), instance(), {"previous": True}, {"iteration": 1}),
        (replace(ASKED, task_id="t"), instance(None), {}, {"attempt": str(ATTEMPT)}),
        (replace(ASKED, task_id="t", map_index=3), instance(None), {}, {}),
    ],
)
def test_what_a_question_reaches(
    asked: Asked, reader: Any, options: dict[str, Any], known: dict[str, Any]
) -> None:
    """A task knows its own attempt, its own loop's iteration, and that a sequence from outside has all of them."""
    assert loops.reach(asked, reader, **options) == replace(asked, **known)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({"ti_id": ATTEMPT, "region_id": REGION, "region_index": 2}, Attempt(str(ATTEMPT), str(REGION), 2, 2)),
        ({"task_id": "other"}, Attempt(iteration=2)),
        ({"task_id": "plain"}, None),
        ({"task_id": "elsewhere"}, None),
        ({"task_id": "other", "run_id": "another"}, None),
    ],
)
def test_whose_xcom_is_stored(stored: dict[str, Any], expected: Attempt | None) -> None:
    """A task's own XCom is of its attempt; of another task's one only the iteration that both are in is known."""
    fields = {"dag_id": "d", "run_id": "r", "task_id": "t", "ti_id": None, "region_id": None, "region_index": None}
    task = TaskTry("d", "r", "t", -1, 1, attempt=str(ATTEMPT), iteration=2)
    assert loops.attempt_of(SimpleNamespace(**{**fields, **stored}), task, instance()) == expected

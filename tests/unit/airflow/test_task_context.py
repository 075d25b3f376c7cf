"""Which task instance a process acts for where Airflow has no context, as Airflow's own functions and log tell."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars

from secure_xcom.airflow import task_context
from secure_xcom.core.coordinate import Coordinate, TaskTry

RUNNER = "airflow.sdk.execution_time.task_runner"
TRIGGERER = "airflow.jobs.triggerer_job_runner"
LOGGED: dict[str, Any] = {
    "ti_id": "019be2a1-0000-7000-8000-000000000001",
    "dag_id": "logged",
    "run_id": "r",
    "task_id": "t",
    "try_number": 2,
    "map_index": 4,
}


def instance(dag_id: str = "d", **more: Any) -> SimpleNamespace:
    """A task instance as Airflow's runner holds it."""
    server = SimpleNamespace(dag_run=SimpleNamespace(team_name="blue"))
    bundle = SimpleNamespace(name="b")
    ids = {"dag_id": dag_id, "run_id": "r", "task_id": "t", "map_index": 3, "try_number": 2}
    return SimpleNamespace(**{**ids, "bundle_instance": bundle, "_ti_context_from_server": server, **more})


@pytest.fixture(autouse=True)
def _no_task(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("DAG_ID", "DAG_RUN_ID", "TASK_ID", "TRY_NUMBER"):
        monkeypatch.delenv(f"AIRFLOW_CTX_{name}", raising=False)
    monkeypatch.setattr(task_context, "_task", None)
    clear_contextvars()
    yield
    clear_contextvars()


def within(monkeypatch: pytest.MonkeyPatch, module: str, function: str, local: str) -> Callable[[Any], Any]:
    """Give a function of one of Airflow's modules that holds something while it asks who acts."""
    stand_in = ModuleType(module)
    stand_in.__dict__["acting"] = task_context.acting
    # a frame of that module
    exec(f"def {function}({local}):\n    return acting()\n", stand_in.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, module, stand_in)
    found: Callable[[Any], Any] = stand_in.__dict__[function]
    return found


@pytest.mark.parametrize("function", ["run", "finalize"])
def test_the_runner_names_the_task_that_it_has(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """Before and after a task's context the runner holds it, with its bundle and team."""
    found = within(monkeypatch, RUNNER, function, "ti")(instance())
    assert found == TaskTry("d", "r", "t", 3, 2, bundle="b", team="blue")


def test_only_who_runs_a_task_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A push's own `ti` is whichever the caller has, as in the DAG processor; and other modules name nobody."""
    assert within(monkeypatch, RUNNER, "_xcom_push", "ti")(instance()) is None
    assert within(monkeypatch, "dag_file", "run", "ti")(instance()) is None
    assert task_context.acting() is None


@pytest.mark.parametrize(("held", "named"), [(instance("deferred"), "deferred"), (None, None)])
def test_the_triggerer_names_a_triggers_task(
    monkeypatch: pytest.MonkeyPatch, held: Any, named: str | None
) -> None:
    """A trigger of a deferred task acts for that task; one of an asset or a deadline for none."""
    trigger = SimpleNamespace(task_instance=held)
    found = within(monkeypatch, TRIGGERER, "run_trigger", "trigger")(trigger)
    assert (found and found.dag_id) == named


def test_the_logs_context_names_it_on_other_threads() -> None:
    """Where Airflow's functions are not on the stack of a thread, what Airflow bound for its log is."""
    bind_contextvars(**LOGGED)
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(copy_context().run, task_context.acting).result()
    assert found == TaskTry("logged", "r", "t", 4, 2)


@pytest.mark.parametrize("lacking", ["ti_id", "dag_id", "run_id", "task_id", "try_number"])
def test_half_a_name_is_none(lacking: str) -> None:
    """What somebody else bound for their own log lines names no task instance."""
    with bound_contextvars(**{name: value for name, value in LOGGED.items() if name != lacking}):
        assert task_context.acting() is None


def test_the_stack_counts_before_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DAG's code can bind what it likes for its log lines."""
    with bound_contextvars(**LOGGED):
        assert within(monkeypatch, RUNNER, "run", "ti")(instance()).dag_id == "d"
        assert (
            within(monkeypatch, TRIGGERER, "run_trigger", "trigger")(SimpleNamespace(task_instance=None)) is None
        )


def test_a_push_has_the_map_index_of_its_coordinate() -> None:
    """A task's own XComs have its own map index, which not everything that names it knows."""
    with bound_contextvars(**{**LOGGED, "map_index": -1}):
        own = task_context.producer(Coordinate("logged", "r", "t", 7, "k"))
        other = task_context.producer(Coordinate("logged", "r", "other", 7, "k"))
    assert (own and own.map_index, other and other.map_index) == (7, -1)


@pytest.mark.parametrize("told", [None, "", "no uuid", 7])
def test_an_attempt_without_a_uuid_is_not_known(told: Any) -> None:
    """A claim names the attempt by its UUID or not at all."""
    task = task_context.remember({"ti": instance(id=told)})
    known = task_context.claimant(task)
    assert known is not None
    assert known.attempt is None
    again = task_context.claimant(task_context.remember({"ti": instance(id=LOGGED["ti_id"].upper())}))
    assert again is not None
    assert again.attempt == LOGGED["ti_id"]

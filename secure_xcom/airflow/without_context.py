"""Find out whose code runs without a task context: in triggers, callbacks and listeners, and before a task."""

from __future__ import annotations

import sys
from typing import Any

from secure_xcom.airflow.task_context import TASK_RUNNER, try_of
from secure_xcom.connections import in_triggerer
from secure_xcom.core.coordinate import TaskTry

# Airflow's functions that run a task's or a trigger's code, and the local variable that says whose.
_HOLDERS = (
    (TASK_RUNNER, ("run", "finalize"), "ti"),
    ("airflow.jobs.triggerer_job_runner", ("run_trigger",), "trigger"),
)
_SHARED_STREAM = "airflow.triggers.shared_stream"


def acting(running: TaskTry | None) -> TaskTry | None:
    """Return the try that pushes or deletes now.

    :param running: the try that the environment variables name which Airflow sets for a task; None without them.
    """
    held, named = _on_stack()
    if held:
        # Where Airflow runs this for no task instance, a log context is somebody else's.
        return named or running
    instance = triggers_instance()
    if instance is not None:
        return try_of(instance, None)
    # From Airflow 3.4 on, a thread of a shared stream has the log context of the trigger that began it.
    return running or (None if in_triggerer() and _named_by_airflow34() is not None else _in_log_context())


def triggers_instance() -> Any:
    """Return the task instance that waits for this trigger: Airflow 3.4 keeps it for all threads of a trigger."""
    named = _named_by_airflow34()
    return None if named is None else named.get()


def _named_by_airflow34() -> Any:
    """Return the context variable in which Airflow 3.4 names a trigger's task instance; None before 3.4."""
    from airflow.sdk.bases import xcom

    return getattr(xcom, "_current_trigger_ti", None)


def _on_stack() -> tuple[bool, TaskTry | None]:
    """Return whether one of Airflow's functions that hold a task or a trigger runs this code, and whose try it is.

    Seen from 3.1 on; nothing else names it before 3.3 (docs/adr/0014).
    """
    holders = [
        (vars(module), functions, local)
        for name, functions, local in _HOLDERS
        if (module := sys.modules.get(name)) is not None
    ]
    frame = sys._getframe()  # inspect.stack() would read the files as well
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == _SHARED_STREAM:
            # What it polls is for several triggers.
            return True, None
        for names, functions, local in holders:
            if frame.f_globals is names and frame.f_code.co_name in functions:
                held = frame.f_locals.get(local)
                instance = getattr(held, "task_instance", None) if local == "trigger" else held
                if instance is None:
                    return True, None
                # A triggerer that serves one team runs no other team's triggers.
                team = _team_of(instance) or getattr(frame.f_locals.get("self"), "team_name", None)
                return True, try_of(instance, team)
    return False, None


def _in_log_context() -> TaskTry | None:
    """Return the try that Airflow 3.3 and later name in a task's or a trigger's log lines, on any thread."""
    from structlog.contextvars import get_contextvars

    bound = get_contextvars()
    ids = [bound.get(name) for name in ("dag_id", "run_id", "task_id")]
    number, index = bound.get("try_number"), bound.get("map_index")
    if not bound.get("ti_id") or not all(ids) or not isinstance(number, int):
        return None
    return TaskTry(str(ids[0]), str(ids[1]), str(ids[2]), index if isinstance(index, int) else -1, number)


def _team_of(instance: Any) -> str | None:
    told = getattr(instance, "_ti_context_from_server", None)
    return getattr(getattr(told, "dag_run", None), "team_name", None)

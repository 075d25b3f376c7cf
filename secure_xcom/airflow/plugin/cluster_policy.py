"""Airflow's cluster policy: tasks run where the access policy says, and log nothing that they return.

The entry point group ``airflow.policy`` is loaded by ``settings.initialize()`` in every process of Airflow, so
this module is also where the processes that supervise tasks are reached: see
`secure_xcom.airflow.plugin.supervisor`. Its hooks come after everybody else's, so that what they find is what
would be run.
"""

from __future__ import annotations

import inspect
import os
import sys
from functools import cache, lru_cache
from typing import Any

from airflow import policies, settings
from airflow.policies import hookimpl

from secure_xcom.airflow import task_context
from secure_xcom.airflow.task_context import TASK_RUNNER
from secure_xcom.deployment import airflow_config

_SWITCH = "show_return_value_in_logs"

# A process's settings do not change while it runs, and these are asked for at each task of a DAG file.
_backend_is_ours = cache(airflow_config.backend_is_ours)
_switched_on = cache(airflow_config.switched_on)
_policy_path = cache(airflow_config.policy_path)
# What places tasks is imported only where there is an access policy to place them by.
_placing_path = cache(airflow_config.placing_policy)

_SUPERVISOR = "airflow.sdk.execution_time.supervisor"


def _before_fork() -> None:
    """Run before each fork of any of Airflow's processes; only one that supervises tasks does something."""
    if _SUPERVISOR in sys.modules and not getattr(sys.modules.get(TASK_RUNNER), "SUPERVISOR_COMMS", None):
        from secure_xcom.airflow.plugin import supervisor

        supervisor.before_fork()


# A supervisor forks its task's process; by then its logging is set up and its secrets masker is empty.
os.register_at_fork(before=_before_fork)


@hookimpl(trylast=True)
def dag_policy(dag: Any) -> None:
    """Refuse a DAG that must not run where its compartment's tasks run.

    :raises AirflowClusterPolicyViolation: Airflow shows it as the DAG file's import error.
    """
    if _placing_path() is None:
        return
    from secure_xcom.airflow.plugin import placing

    placing.or_violation(placing.place_dag, dag)


@hookimpl(trylast=True)
def task_policy(task: Any) -> None:
    """Send the task to its place, and turn the return value's log line off, where an operator has one.

    Called for each task whenever a DAG file is parsed, in the task's own process as well.

    :raises AirflowClusterPolicyViolation: Airflow shows it as the DAG file's import error.
    """
    if _placing_path() is not None:
        from secure_xcom.airflow.plugin import placing

        placing.or_violation(placing.place_task, task)
    _hide_return_value(task)


def _hide_return_value(task: Any) -> None:
    mapped = hasattr(task, "partial_kwargs")
    if not (_takes_switch(task.operator_class) if mapped else hasattr(task, _SWITCH)):
        return
    if not (_backend_is_ours() and _hides_return_values(task.dag_id)):
        return
    if mapped:
        # The operator is made from these when it is expanded. Mapped over the switch itself, it would be given
        # twice, so that rare one is left as its author wrote it.
        if _SWITCH not in (getattr(getattr(task, "expand_input", None), "value", None) or ()):
            task.partial_kwargs[_SWITCH] = False
    else:
        setattr(task, _SWITCH, False)


@hookimpl(tryfirst=True)
def get_airflow_context_vars(context: Any) -> None:
    """Remember whose process this is: the return value is pushed when Airflow's context is gone.

    The first of these hooks that gives anything ends the search, so this one gives nothing and comes first.
    """
    if context.get("ti") is not None and hasattr(context["ti"], "bundle_instance"):
        task_context.remember(context)
    if task_context.is_in_process():
        from secure_xcom.airflow.plugin import in_process

        # A DAG that is no DAG file's, as in `dag.test()`, has passed no cluster policy.
        _hide_return_value(context["ti"].task)
        in_process.mask_output()


def _place_instance(task_instance: Any, dag_run: Any) -> None:
    if _placing_path() is not None:
        from secure_xcom.airflow.plugin import placing

        placing.place_instance(task_instance, dag_run)


def _place_instance_of_any_run(task_instance: Any) -> None:
    _place_instance(task_instance, None)


# A hook may not ask for what its Airflow does not give: before 3.3 that was the task instance alone.
_gives_run = "dag_run" in inspect.signature(policies.task_instance_mutation_hook).parameters
task_instance_mutation_hook: Any = hookimpl(_place_instance if _gives_run else _place_instance_of_any_run)


class _NothingToPlace:
    """Airflow's mark that no hook places task instances, looked at when they are made.

    Airflow sets it to False for hooks of ``airflow_local_settings.py`` alone (airflow/settings.py,
    import_local_settings), and passes over those of packages where it is True (airflow/models/dagrun.py,
    _get_task_creator). Making many task instances is slower with a hook, so without places nothing changes.
    """

    def __init__(self, before: object) -> None:
        self._before = before

    def __bool__(self) -> bool:
        return bool(self._before) and _placing_path() is None


_hook: Any = settings.task_instance_mutation_hook
if hasattr(_hook, "is_noop") and not isinstance(_hook.is_noop, _NothingToPlace):
    _hook.is_noop = _NothingToPlace(_hook.is_noop)


if "sqlalchemy.orm" in sys.modules and airflow_config.is_written("access_policy"):
    # Without SQLAlchemy this process writes no rows, and without a policy no callback has a place.
    from secure_xcom.airflow.plugin import deadline_callbacks

    deadline_callbacks.watch()


def _hides_return_values(dag_id: str) -> bool:
    """Return whether a DAG's operators keep quiet: its compartment says, or else the deployment."""
    policy_path = _policy_path()
    if policy_path is not None:
        from secure_xcom.airflow.plugin.quiet_compartments import hides_return_values

        if (told := hides_return_values(policy_path, dag_id)) is not None:
            return told
    return _switched_on("hide_return_values")


@lru_cache(maxsize=256)
def _takes_switch(operator_class: Any) -> bool:
    return any(
        _SWITCH in inspect.signature(vars(base)["__init__"]).parameters
        for base in getattr(operator_class, "__mro__", ())
        if "__init__" in vars(base) and base is not object
    )

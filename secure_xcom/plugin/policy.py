"""Airflow's cluster policy: operators do not log what they return before it is sealed.

The entry point group ``airflow.policy`` is loaded by ``settings.initialize()`` in every process of Airflow, so
this module is also where the processes that supervise tasks are reached: see `secure_xcom.plugin.supervisor`.
"""

from __future__ import annotations

import inspect
import os
from typing import Any

from airflow.policies import hookimpl

from secure_xcom import airflow_settings
from secure_xcom.plugin import supervisor

_SWITCH = "show_return_value_in_logs"

# A supervisor forks its task's process; by then its logging is set up and its secrets masker is empty.
os.register_at_fork(before=supervisor.before_fork)


@hookimpl
def task_policy(task: Any) -> None:
    """Turn the return value's log line off, where an operator has one.

    Called for each task whenever a DAG file is parsed, in the task's own process as well.
    """
    mapped = hasattr(task, "partial_kwargs")
    if not (_takes_switch(task.operator_class) if mapped else hasattr(task, _SWITCH)):
        return
    if not (airflow_settings.backend_is_ours() and airflow_settings.switched_on("hide_return_values")):
        return
    if mapped:
        # The operator is made from these when it is expanded. Mapped over the switch itself, it would be given
        # twice, so that rare one is left as its author wrote it.
        if _SWITCH not in (getattr(getattr(task, "expand_input", None), "value", None) or ()):
            task.partial_kwargs[_SWITCH] = False
    else:
        setattr(task, _SWITCH, False)


def _takes_switch(operator_class: Any) -> bool:
    return any(
        _SWITCH in inspect.signature(vars(base)["__init__"]).parameters
        for base in getattr(operator_class, "__mro__", ())
        if "__init__" in vars(base) and base is not object
    )

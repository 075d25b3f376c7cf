"""The executors of this Airflow, as its own loader reads them out of ``[core] executor``."""

from __future__ import annotations

import inspect
import logging
import sys
from functools import cache
from typing import Any

from secure_xcom.airflow.task_context import DAG_PROCESSOR, TASK_RUNNER
from secure_xcom.core.access_policy.executors import Executor, Executors

log = logging.getLogger(__name__)


@cache
def configured() -> Executors:
    """Return the executors of this process's configuration; none if Airflow cannot read it, which it reports."""
    try:
        from airflow.executors.executor_loader import ExecutorLoader

        read: Any = ExecutorLoader.get_executor_names
        # Whether teams exist stands in the database, which the process that reads DAG files does not ask.
        asks = "validate_teams" in inspect.signature(read).parameters
        names = read(validate_teams=False) if asks else read()
    # whatever is wrong with the option, a component reports at its start
    except Exception as error:  # noqa: BLE001  # an executor's import may raise anything
        log.debug("[core] executor cannot be read: %s", type(error).__name__)
        return Executors()
    return Executors(
        # Airflow 3.1 has no teams here.
        Executor(name.module_path, name.alias, getattr(name, "team_name", None))
        for name in names
    )


def runs_a_task() -> bool:
    """Return whether this process runs a task. Its ``[core] executor`` may differ from the scheduler's.

    The pod template of Airflow's chart, for one, says LocalExecutor there.
    """
    runner = sys.modules.get(TASK_RUNNER)
    return DAG_PROCESSOR not in sys.modules and getattr(runner, "SUPERVISOR_COMMS", None) is not None

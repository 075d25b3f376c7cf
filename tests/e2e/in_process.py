"""Runs DAGs in this process, on the real database, by Airflow's own `dag.test()`.

    python -m tests.e2e.in_process FILE DAG_ID@LOGICAL_DATE[@PATTERN OF TASKS TO LEAVE OUT] ...

A task takes some fifty milliseconds so; with the scheduler it takes half a second.
"""

from __future__ import annotations

import importlib.util
import sys
from datetime import datetime

from secure_xcom.demo.ui_run import keep_one_api, store_dags


def main(file: str, *runs: str) -> None:
    """Run DAGs of a file, one run after the other."""
    spec = importlib.util.spec_from_file_location("dag_file", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} is no Python file")
    keep_one_api()
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for run in runs:
        dag_id, logical_date, *leave_out = run.split("@", 2)
        store_dags(dag_id)
        date = datetime.fromisoformat(logical_date)
        # The run's id is made of the moment after which it may run.
        getattr(module, dag_id).test(
            run_after=date, logical_date=date, mark_success_pattern=next(iter(leave_out), None)
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs the DAGs of ``secure-xcom demo --ui`` once, in the environment of its Airflow.

    python -m secure_xcom.demo.ui_run DAG_FILE

Airflow's own ``dag.test()`` runs them in seconds, without a scheduler.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

from secure_xcom.core import clock


def main(file: str) -> None:
    """Run both DAGs, write one value past the backend, and count what is there for the page."""
    from secure_xcom.cli import main as secure_xcom

    finance = _run(file, "finance", {})
    _run(file, "marketing", {"finance_run": finance})
    _write_plaintext(finance)
    for command in ("migrate", "count"):
        try:
            secure_xcom(["ui", command, "--json"])
        except SystemExit as done:
            if done.code:
                raise


def _run(file: str, name: str, conf: dict[str, Any]) -> str:
    spec = importlib.util.spec_from_file_location("teams", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    now = clock.now()
    return str(getattr(module, name).test(run_after=now, logical_date=now, run_conf=conf).run_id)


def _write_plaintext(run_id: str) -> None:
    """Write as a script with access to the database does: the API server refuses REST writes."""
    from airflow.utils.session import create_session
    from sqlalchemy import text

    statement = text(
        "INSERT INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, key, value, timestamp) "
        "SELECT dag_run_id, dag_id, run_id, 'load', -1, 'by_hand', :value, timestamp FROM xcom "
        "WHERE run_id = :run_id AND task_id = 'extract' AND key = 'return_value'"
    )
    value = json.dumps({"customer": "Ada Lovelace", "amount": 99.5})
    with create_session() as session:
        session.execute(statement, {"run_id": run_id, "value": value})


if __name__ == "__main__":
    main(*sys.argv[1:])

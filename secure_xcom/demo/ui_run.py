"""Runs the DAGs of ``secure-xcom demo --ui`` once, in the environment of its Airflow.

    python -m secure_xcom.demo.ui_run DAG_FILE

Airflow's own ``dag.test()`` runs them in seconds, without a scheduler.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import sys
from contextlib import closing
from typing import Any

from secure_xcom.core import clock


def main(file: str) -> None:
    """Run both DAGs, write one value past the backend, and count what is there for the page."""
    from secure_xcom.numbers.migrate import migrate
    from secure_xcom.ops.jobs.maintenance_dag import run_step
    from secure_xcom.ops.xcom_table import Database, database_url

    keep_one_api()
    finance = _run(file, "finance", {})
    _run(file, "marketing", {"finance_run": finance})
    _write_plaintext(finance)
    with closing(Database(database_url())) as database, database.transaction("the table of numbers") as connection:
        migrate(connection)
    run_step("count", {}, operator="demo")


def keep_one_api() -> None:
    """Have ``dag.test()`` build its API server once, as Airflow does from 3.2 on.

    Airflow 3.1 builds one for each task, which takes seconds of CPU time, and keeps their threads.
    """
    from airflow.sdk.execution_time import supervisor

    if not hasattr(supervisor.in_process_api_server, "cache_info"):
        supervisor.in_process_api_server = functools.lru_cache(maxsize=1)(supervisor.in_process_api_server)


def store_dags(dag_id: str) -> None:
    """Have Airflow's database know the DAGs of its bundles, unless it knows this one.

    ``dag.test()`` does so from Airflow 3.1.1 on, and 3.1.0 refuses a DAG that is not stored.
    """
    from airflow.models.dag_version import DagVersion

    if importlib.metadata.version("apache-airflow-core") != "3.1.0" or DagVersion.get_latest_version(dag_id):
        return
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.dagbag import DagBag, sync_bag_to_db

    bundles = DagBundlesManager()
    bundles.sync_bundles_to_db()
    for bundle in bundles.get_all_dag_bundles():
        bundle.initialize()
        found = DagBag(bundle.path, bundle_path=bundle.path, include_examples=False)
        sync_bag_to_db(found, bundle.name, bundle.version)


def _run(file: str, name: str, conf: dict[str, Any]) -> str:
    spec = importlib.util.spec_from_file_location("teams", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    store_dags(name)
    now = clock.now()
    return str(getattr(module, name).test(run_after=now, logical_date=now, run_conf=conf).run_id)


def _write_plaintext(run_id: str) -> None:
    """Write as a script with access to the database does: the API server refuses REST writes."""
    from airflow.models.xcom import XComModel

    value = {"customer": "Ada Lovelace", "amount": 99.5}
    XComModel.set(key="by_hand", value=value, dag_id="finance_daily", run_id=run_id, task_id="load")


if __name__ == "__main__":
    main(*sys.argv[1:])

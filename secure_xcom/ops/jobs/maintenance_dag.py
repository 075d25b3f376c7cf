"""The maintenance DAG: shred, expire, rewrap, gc, the access log (anchor, alarms, reconcile), doctor, a summary.

    from secure_xcom.ops.jobs.maintenance_dag import maintenance_dag

    dag = maintenance_dag(delete=True)

Each step's report is an XCom, sealed like any other, and its numbers are an asset event. The identity that runs
the steps cannot open an XCom, not even its own, so the summary is made from the numbers. Give the tasks a queue of
their own (``task_options``) that only this identity's worker consumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from secure_xcom.ops.jobs.job_registry import FORMER_STEPS, STEPS

DAG_ID = "secure_xcom_maintenance"
REPORTS = "secure_xcom_maintenance_reports"
SUMMARY = "secure_xcom_maintenance"
"""Assets: an event for each step, and one for each run."""


def maintenance_dag(
    dag_id: str = DAG_ID,
    *,
    schedule: Any = "@daily",
    delete: bool = False,
    rewrap: bool = False,
    older_than: str = "24h",
    steps: Sequence[str] = tuple(STEPS),
    database_conn_id: str = "",
    task_options: dict[str, Any] | None = None,
    **dag_options: Any,
) -> Any:
    """Return the DAG. The arguments are the defaults of its Params, which the form of a manual run shows.

    :param delete: whether shred, expire and gc delete, as their commands do with ``--apply``.
    :param rewrap: whether rewrap changes rows, as its command does with ``--apply``.
    :param older_than: gc's window.
    :param steps: which steps run, for a DAG that runs some of them more often.
    :param database_conn_id: Airflow connection to the metadata database; by default SECURE_XCOM_DB of the worker.
    :param task_options: options of every task, such as ``{"queue": "caretaker"}``.
    :param dag_options: options of the DAG.
    """
    from airflow.sdk import DAG, Asset, task

    summary, reports = Asset(SUMMARY), Asset(REPORTS)
    options = task_options or {}
    with DAG(
        dag_id,
        schedule=schedule,
        catchup=False,
        max_active_runs=1,
        params=_params(steps, {"delete": delete, "rewrap": rewrap, "older_than": older_than}),
        tags=["secure_xcom"],
        doc_md=__doc__,
        **dag_options,
    ) as dag:

        def step(name: str) -> Any:
            @task(task_id=name, outlets=[reports], trigger_rule="all_done", multiple_outputs=False, **options)
            def run(params: Any = None, dag_run: Any = None, outlet_events: Any = None) -> dict[str, Any]:
                try:
                    from airflow.sdk.exceptions import AirflowSkipException
                except ImportError:
                    # Airflow 3.1 has it only here.
                    from airflow.exceptions import AirflowSkipException  # type: ignore[no-redef]  # of 3.1

                if name not in _current(params["steps"]):
                    raise AirflowSkipException(f"{name} was not selected")
                operator = f"{dag_id} {dag_run.run_id}"
                report = run_step(name, params, operator=operator, database_conn_id=database_conn_id)
                outlet_events[reports].extra = {"step": name, **counts(report)}
                return report

            return run()

        @task(
            task_id="summary",
            inlets=[reports],
            outlets=[summary],
            trigger_rule="all_done",
            multiple_outputs=False,
            **options,
        )
        def summarize(
            params: Any = None, dag_run: Any = None, inlet_events: Any = None, outlet_events: Any = None
        ) -> dict[str, Any]:
            events = [event for event in inlet_events[reports] if event.source_run_id == dag_run.run_id]
            done = {str(event.extra["step"]): dict(event.extra) for event in events}
            record: dict[str, Any] = {
                "steps": done,
                "not_done": [name for name in STEPS if name in _current(params["steps"]) and name not in done],
                "found": sorted(name for name, numbers in done.items() if numbers.get("found")),
            }
            outlet_events[summary].extra = record
            return record

        @task(task_id="watcher", trigger_rule="one_failed", retries=0, **options)
        def watcher() -> None:
            """Fail the run where a step failed, which the steps after it would hide."""
            from secure_xcom.core.operator_errors import MaintenanceError

            raise MaintenanceError("a step failed", remedy="read its task's log; the next run resumes there")

        tasks = [step(name) for name in STEPS]
        for before, after in pairwise(tasks):
            before >> after
        tasks[-1] >> summarize()
        tasks >> watcher()
    return dag


def run_step(name: str, params: Mapping[str, Any], *, operator: str, database_conn_id: str = "") -> dict[str, Any]:
    """Run one step with Airflow's settings of this process, and return its report as JSON.

    :param params: the DAG's Params. A Param that is missing has the job's default.
    :param operator: who runs it, for the access log.
    :param database_conn_id: Airflow connection to the metadata database; by default the environment names it.
    :raises SecureXComError: the step cannot do its work.
    """
    from secure_xcom.connections.sql import url_of_connection
    from secure_xcom.deployment import Deployment
    from secure_xcom.ops.jobs.gc_inventory import default_folder
    from secure_xcom.ops.jobs.job import JobContext
    from secure_xcom.ops.xcom_table import database_url

    context = JobContext(
        Deployment.of_airflow(),
        operator,
        lambda job: default_folder() / f"dag-{job}.sqlite",
        lambda: url_of_connection(database_conn_id) if database_conn_id else database_url(),
    )
    return STEPS[FORMER_STEPS.get(name, name)].run_step(context, params)


def counts(report: Mapping[str, Any]) -> dict[str, int | bool]:
    """Return the numbers of a report: the part for an asset event, which Airflow stores in plaintext."""
    return {name: value for name, value in report.items() if isinstance(value, int)}


def _current(steps: Sequence[str]) -> list[str]:
    """Return steps under the names of today; a DAG file or the configuration of a run may have former ones."""
    return [FORMER_STEPS.get(name, name) for name in steps]


def _params(steps: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the DAG's Params: the steps, and what the jobs declare."""
    from airflow.sdk import Param

    params = {
        "steps": Param(
            _current(steps),
            type="array",
            items={"type": "string", "enum": [*STEPS, *FORMER_STEPS]},
            title="Steps",
            examples=list(STEPS),
            description="Which steps run, in this order.",
        )
    }
    for job in STEPS.values():
        for default, declared in job.declared_params():
            value = defaults.get(declared.name, default)
            params[declared.name] = Param(
                value, title=declared.title, description=declared.description, **declared.schema
            )
    return params

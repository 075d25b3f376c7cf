"""The maintenance DAG: shred, expire, rewrap, gc, the access log (seal, alarms, reconcile), doctor; one summary.

    from secure_xcom.ops.jobs.maintenance_dag import maintenance_dag

    dag = maintenance_dag(delete=True)

Each step's report is an XCom, sealed like any other, and its numbers are an asset event. The identity that it runs
as cannot open an XCom, its own neither, so the summary is put together from the numbers. Give its tasks a queue of
their own (``task_options``), to which only that identity's worker listens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from secure_xcom.ops.jobs.maintenance_steps import STEPS, counts

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
    """The DAG. What stands here are its Params' defaults, which the form of a manual run shows.

    :param delete: whether shred, expire and gc delete.
    :param rewrap: whether rewrap changes rows.
    :param older_than: gc's window.
    :param steps: which steps are run, for a DAG that runs some of them more often.
    :param database_conn_id: Airflow connection to the metadata database; without one SECURE_XCOM_DB of the worker.
    :param task_options: for every task, such as ``{"queue": "caretaker"}``.
    :param dag_options: Airflow's own, for the DAG.
    """
    from airflow.sdk import DAG, Asset, Param, task

    summary, reports = Asset(SUMMARY), Asset(REPORTS)
    params = {
        "steps": Param(
            list(steps), type="array", items={"type": "string", "enum": list(STEPS)}, title="Steps",
            examples=list(STEPS), description="Which steps are run, in this order.",
        ),
        "delete": Param(
            delete, type="boolean", title="Delete", description="Let steps delete; else they count.",
        ),
        "older_than": Param(
            older_than, type="string", pattern="^[1-9][0-9]{0,4}[hdw]$", title="gc's window",
            description="Younger payloads are left alone; 2h at the least.",
        ),
        "max_share": Param(
            0.5, type="number", minimum=0, maximum=1, title="Largest share",
            description="gc refuses to delete more than this share of the payloads.",
        ),
        "rate": Param(
            0, type="number", minimum=0, title="Deletions a second", description="At the most; 0 for no limit.",
        ),
        "rewrap": Param(
            rewrap, type="boolean", title="Rewrap", description="Bring wraps to the newest version; else count.",
        ),
        "compartment": Param(
            None, type=["null", "string"], title="Compartment", description="Rewrap this one only.",
        ),
        "older_than_version": Param(
            None, type=["null", "integer"], minimum=2, title="Older than version",
            description="Rewrap wraps of older versions only.",
        ),
        "payloads": Param(
            True, type="boolean", title="Look for payloads", description="Doctor holds rows against payloads too.",
        ),
        "vault_log": Param(
            None, type=["null", "string"], title="Vault's audit log", description="A file, for audit_reconcile.",
        ),
        "vault_conn_id": Param("default", type="string", title="Vault connection", description="For audit-hash."),
        "cloudtrail": Param(
            None, type=["null", "string"], title="CloudTrail", description="A folder, for audit_reconcile.",
        ),
    }  # fmt: skip
    options = task_options or {}
    with DAG(
        dag_id,
        schedule=schedule,
        catchup=False,
        max_active_runs=1,
        params=params,
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
                    from airflow.exceptions import AirflowSkipException  # type: ignore[no-redef]

                if name not in params["steps"]:
                    raise AirflowSkipException(f"{name} was not chosen")
                chosen = {**params, "database_conn_id": database_conn_id, "operator": f"{dag_id} {dag_run.run_id}"}
                report = STEPS[name](chosen)
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
        def sum_up(
            params: Any = None, dag_run: Any = None, inlet_events: Any = None, outlet_events: Any = None
        ) -> dict[str, Any]:
            mine = [event for event in inlet_events[reports] if event.source_run_id == dag_run.run_id]
            done = {str(event.extra["step"]): dict(event.extra) for event in mine}
            text: dict[str, Any] = {
                "steps": done,
                "not_done": [name for name in STEPS if name in params["steps"] and name not in done],
                "found": sorted(name for name, numbers in done.items() if numbers.get("found")),
            }
            outlet_events[summary].extra = text
            return text

        @task(task_id="watcher", trigger_rule="one_failed", retries=0, **options)
        def watcher() -> None:
            """Fail the run where a step failed, which the steps behind it would hide."""
            from secure_xcom.core.errors import MaintenanceError

            raise MaintenanceError("a step failed", remedy="read its task's log; the next run goes on from there")

        tasks = [step(name) for name in STEPS]
        for before, after in pairwise(tasks):
            before >> after
        tasks[-1] >> sum_up()
        tasks >> watcher()
    return dag

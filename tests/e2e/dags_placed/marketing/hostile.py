"""A file that puts our policy out of action in its own process, to run with another compartment's identity."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow import settings
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from tests.e2e.placed_note import note

vars(settings).update(dag_policy=lambda dag: None, task_policy=lambda task: None)


def build(dag_id: str, deadline: Any = None, **place: Any) -> DAG:
    """One task in a place."""
    begin = datetime(2026, 1, 1, tzinfo=timezone.utc)
    with DAG(dag_id, schedule=None, start_date=begin, deadline=deadline) as dag:
        PythonOperator(task_id="runs", python_callable=note, op_args=[dag_id, "runs"], **place)
    return dag


steals_queue = build("marketing_steals_queue", queue="finance")
steals_executor = build("marketing_steals_executor", executor="finance")
spells_queue = build("marketing_spells_queue", queue="default\x06\x169")
lists_queue = build("marketing_lists_queue", queue="default,finance")
spells_executor = build("marketing_spells_executor", executor="tests.e2e.finance_executor.FinanceExecutor")
names_class = build("marketing_names_class", executor="FinanceExecutor")
takes_caretaker = build("marketing_takes_caretaker", queue="caretaker")
brings_template = build("marketing_brings_template", executor_config={"pod_template_file": "/tmp/pod.yaml"})
brings_role = build("marketing_brings_role", executor_config={"overrides": {"taskRoleArn": "finance"}})
becomes_root = build("marketing_becomes_root", run_as_user="root")
takes_name = build("finance_taken")
late = build(
    "marketing_late",
    deadline=DeadlineAlert(
        DeadlineReference.DAGRUN_QUEUED_AT,
        timedelta(milliseconds=1),
        SyncCallback(
            "tests.e2e.placed_note.note",
            {"dag_id": "marketing_late", "task_id": "callback"},
            executor="FinanceExecutor",
        ),
    ),
)

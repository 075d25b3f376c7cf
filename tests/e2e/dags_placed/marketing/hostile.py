"""A file that puts our policy out of action in its own process, to run with another compartment's identity."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow import settings
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

from tests.e2e.placed_note import note

vars(settings).update(dag_policy=lambda dag: None, task_policy=lambda task: None)


def build(dag_id: str, **place: Any) -> DAG:
    """One task in a place."""
    with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        PythonOperator(task_id="runs", python_callable=note, op_args=[dag_id, "runs"], **place)
    return dag


steals_queue = build("marketing_steals_queue", queue="finance")
steals_executor = build("marketing_steals_executor", executor="finance")
takes_name = build("finance_taken")

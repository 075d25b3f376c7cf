"""A file that puts our policy out of action in the process that parses it, and then asks for another place."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow import settings
from airflow.sdk import DAG, task

from tests.e2e.placed_note import note

vars(settings).update(dag_policy=lambda dag: None, task_policy=lambda task: None)

with DAG("finance_sly", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):

    @task(queue="elsewhere", pool="default_pool")
    def runs() -> int:
        """Runs all the same where its compartment's tasks run."""
        note("finance_sly", "runs")
        return 1

    runs()

"""A DAG that asks for another compartment's queue."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, task

with DAG("marketing_asks", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):

    @task(queue="finance")
    def never() -> int:
        """Is not there."""
        return 1

    never()

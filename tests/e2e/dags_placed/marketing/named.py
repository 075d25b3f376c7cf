"""A DAG that only bears the name of another compartment's."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, task

with DAG("finance_named", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):

    @task
    def never() -> int:
        """Is not there."""
        return 1

    never()

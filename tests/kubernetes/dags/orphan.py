"""A DAG of no compartment, which would run with the account of the pod template."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, task

with DAG("unnamed_orphan", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False):

    @task
    def never() -> int:
        """Is not there."""
        return 1

    never()

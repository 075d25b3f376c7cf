"""Another team's file that asks for nothing."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, task

from tests.e2e.placed_note import note

with DAG("marketing_plain", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):

    @task
    def runs() -> int:
        """Runs with no identity."""
        note("marketing_plain", "runs")
        return 1

    runs()

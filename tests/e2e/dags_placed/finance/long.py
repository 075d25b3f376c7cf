"""A DAG that another bundle's file takes over while its first task waits."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from pathlib import Path

from airflow.sdk import DAG, task

from tests.e2e.placed_note import note

with DAG("finance_long", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):

    @task
    def first() -> None:
        """Waits until the test says go."""
        note("finance_long", "first")
        while not Path(os.environ["SECURE_XCOM_E2E_NOTES"]).with_name("go").exists():
            time.sleep(0.2)

    @task
    def second() -> None:
        """Runs finance's code or none."""
        note("finance_long", "second")

    first() >> second()

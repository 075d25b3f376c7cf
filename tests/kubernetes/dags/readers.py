"""What marketing's pod may have of finance, and what it tries to have: with our code, and past it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow.sdk import DAG, task

from tests.kubernetes.kit import note, task_instance

with DAG(
    "marketing_reads", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False
) as reads:

    @task
    def shared() -> None:
        """Pulls what it is a reader of, and what it is not."""
        pull: Any = task_instance().xcom_pull
        note("total", pull(dag_id="finance_daily", task_ids="publish_totals", run_id="daily")["total"])
        try:
            pull(dag_id="finance_daily", task_ids="collect", run_id="daily")
        except Exception as error:  # noqa: BLE001  # its class is what is noted
            note("not shared", type(error).__name__)
        else:
            note("not shared", "opened")

    shared()

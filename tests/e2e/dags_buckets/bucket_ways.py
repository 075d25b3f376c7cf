"""The same hand-overs in two DAGs, each of a compartment with a bucket's prefix and a key service of its own."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Any

from airflow.sdk import DAG, get_current_context, task

CANARY = os.environ.get("SECURE_XCOM_E2E_CANARY", "no canary was given")


def build(dag_id: str) -> DAG:
    """Push, map, gather."""
    with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False) as dag:

        @task
        def produce() -> dict[str, Any]:
            get_current_context()["ti"].xcom_push("large", CANARY * 100_000)
            return {"user": "alice", "password": CANARY}

        @task
        def double(number: int) -> str:
            return f"{CANARY}/{number}"

        @task
        def gather(secret: dict[str, Any], parts: list[str]) -> int:
            assert secret["password"] == CANARY
            assert list(parts) == [f"{CANARY}/{number}" for number in range(4)]
            large = get_current_context()["ti"].xcom_pull(task_ids="produce", key="large")
            assert large == CANARY * 100_000
            return len(large)

        gather(produce(), double.expand(number=[0, 1, 2, 3]))  # type: ignore[arg-type]  # as TaskFlow is written
    return dag


on_vault = build("on_vault")
on_kms = build("on_kms")

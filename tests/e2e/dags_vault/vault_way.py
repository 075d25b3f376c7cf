"""Values that go through a real Vault, in a DAG that is halfway when the operator takes its token away."""

from __future__ import annotations

import hashlib
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import dag, get_current_context, task

CANARY = os.environ.get("SECURE_XCOM_E2E_CANARY", "no canary was given")
SIGNALS = Path(os.environ.get("SECURE_XCOM_E2E_SIGNALS", "/nonexistent"))


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False)
def vault_way() -> None:
    """Push, pull, map, gather; the last task is held up in its middle."""

    @task
    def produce() -> dict[str, Any]:
        context = get_current_context()
        for number in range(20):
            context["ti"].xcom_push(f"extra_{number}", f"{CANARY}-{number}")
        return {"user": "alice", "password": CANARY}

    @task
    def double(number: int) -> str:
        return f"{CANARY}/{number}"

    @task
    def gather(secret: dict[str, Any], parts: list[str]) -> str:
        assert secret["password"] == CANARY
        assert sorted(parts) == [f"{CANARY}/{number}" for number in range(4)]
        context = get_current_context()
        for number in range(20):
            assert context["ti"].xcom_pull(task_ids="produce", key=f"extra_{number}") == f"{CANARY}-{number}"
        return hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()

    @task
    def hold(digest: str) -> str:
        run = get_current_context()["dag_run"].run_id
        (SIGNALS / f"{run}.halfway").touch()
        deadline = time.monotonic() + 90
        while not (SIGNALS / f"{run}.go").exists():
            assert time.monotonic() < deadline, "nobody said go"
            time.sleep(0.1)
        # Another task's data key, which this process does not have yet: Vault is asked after the token is gone.
        secret = get_current_context()["ti"].xcom_pull(task_ids="produce")
        assert secret["password"] == CANARY
        return digest

    hold(gather(produce(), double.expand(number=[0, 1, 2, 3])))  # type: ignore[arg-type]  # as TaskFlow is written


vault_way()

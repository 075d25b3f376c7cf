"""What a task's pod costs: the same two tasks with our backend and with Airflow's own, in the same image."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow.sdk import DAG, task
from kubernetes.client import models

STOCK = models.V1Pod(
    spec=models.V1PodSpec(
        containers=[
            models.V1Container(
                name="base",
                env=[
                    models.V1EnvVar(
                        name="AIRFLOW__CORE__XCOM_BACKEND", value="airflow.sdk.execution_time.xcom.BaseXCom"
                    )
                ],
            )
        ]
    )
)


def build(name: str, **options: Any) -> DAG:
    """Return a DAG of a push and a pull."""
    begin = datetime(2026, 1, 1, tzinfo=timezone.utc)
    with DAG(f"marketing_{name}", schedule=None, start_date=begin, catchup=False) as dag:

        @task(**options)  # type: ignore[untyped-decorator]  # Airflow's
        def produce() -> str:
            return "nothing secret"

        @task(**options)  # type: ignore[untyped-decorator]  # Airflow's
        def consume(value: str) -> None:
            assert value

        consume(produce())
    return dag


ours = build("costs_ours")
stock = build("costs_stock", executor_config={"pod_override": STOCK})

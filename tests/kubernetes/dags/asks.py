"""A file that asks for finance's account without fighting our policy."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, task
from kubernetes.client import models

OVERRIDE = models.V1Pod(
    spec=models.V1PodSpec(containers=[models.V1Container(name="base")], service_account_name="xcom-finance")
)

with DAG("marketing_asks", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False):

    @task(executor_config={"pod_override": OVERRIDE})
    def never() -> int:
        """Is not there."""
        return 1

    never()

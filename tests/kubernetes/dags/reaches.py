"""A file that puts our policy out of action in its own process, to have pods with another's account or shape."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow import settings
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG
from kubernetes.client import models

from tests.kubernetes.kit import account, note

vars(settings).update(dag_policy=lambda dag: None, task_policy=lambda task: None)

TOKEN = models.V1ServiceAccountTokenProjection(path="token", audience="https://kubernetes.default.svc")
PROJECTED = models.V1ProjectedVolumeSource(sources=[models.V1VolumeProjection(service_account_token=TOKEN)])


def runs() -> None:
    """Note whose account it got."""
    note("account", account())


def build(name: str, **config: Any) -> DAG:
    """Return a DAG of marketing whose one task asks for this."""
    begin = datetime(2026, 1, 1, tzinfo=timezone.utc)
    with DAG(f"marketing_{name}", schedule=None, start_date=begin, catchup=False) as dag:
        PythonOperator(task_id="runs", python_callable=runs, executor_config=config)
    return dag


def pod(labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a pod_override."""
    containers = [models.V1Container(name="base")]
    metadata = models.V1ObjectMeta(labels=labels)
    return {"pod_override": models.V1Pod(metadata=metadata, spec=models.V1PodSpec(containers=containers, **spec))}


takes_account = build("takes_account", **pod(service_account_name="xcom-finance"))
takes_scheduler = build("takes_scheduler", **pod(service_account_name="airflow-scheduler"))
takes_maintenance = build("takes_maintenance", **pod(service_account_name="xcom-maintenance"))
brings_template = build("brings_template", pod_template_file="/opt/airflow/dags/pod.yaml")
mounts_token = build("mounts_token", **pod(volumes=[models.V1Volume(name="token", projected=PROJECTED)]))
mounts_secret = build(
    "mounts_secret",
    **pod(volumes=[models.V1Volume(name="secret", secret=models.V1SecretVolumeSource(secret_name="any"))]),
)
other_label = build("other_label", **pod(labels={"secure-xcom": "none"}))
serves = build("serves", **pod(labels={"component": "api-server"}))
host_network = build("host_network", **pod(host_network=True))

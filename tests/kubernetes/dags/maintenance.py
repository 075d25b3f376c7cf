"""The maintenance DAG. Its pods get the database's address from Vault, by a role of their account alone."""

from __future__ import annotations

import json

from kubernetes.client import models

from secure_xcom.ops.jobs.maintenance_dag import maintenance_dag

# Airflow looks only into files that hold its name, as this line does.
KWARGS = {
    "url": "https://vault.vault.svc:8200",
    "auth_type": "kubernetes",
    "kubernetes_role": "maintenance-database",
    "kubernetes_jwt_path": "/var/run/secrets/vault/token",
    "connections_path": "connections",
    "mount_point": "kv",
    "variables_path": None,
    "config_path": None,
    "verify": "/etc/vault-ca/ca.pem",
}
BACKEND = {
    "AIRFLOW__WORKERS__SECRETS_BACKEND": "airflow.providers.hashicorp.secrets.vault.VaultBackend",
    "AIRFLOW__WORKERS__SECRETS_BACKEND_KWARGS": json.dumps(KWARGS),
}
POD = models.V1Pod(
    spec=models.V1PodSpec(
        containers=[
            models.V1Container(
                name="base", env=[models.V1EnvVar(name=name, value=value) for name, value in BACKEND.items()]
            )
        ]
    )
)

dag = maintenance_dag(
    schedule=None,
    steps=("shred", "expire", "rewrap", "gc"),
    rewrap=True,
    database_conn_id="airflow_metadata",
    task_options={"executor_config": {"pod_override": POD}},
)

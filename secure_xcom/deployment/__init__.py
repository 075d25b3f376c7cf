"""The one place that wires settings, access policy, access log, keys and stores together.

The backend, the maintenance DAG and the UI begin with `Deployment.of_airflow`, commands with
`secure_xcom.deployment.config_file.load`.
"""

from __future__ import annotations

from secure_xcom.deployment.deployment import Deployment, airflow_is_installed

__all__ = ["Deployment", "airflow_is_installed"]

"""The one place that wires settings, access policy, access log, keys and stores together.

The backend, the commands, the maintenance DAG and the UI all begin with `load()`.
"""

from __future__ import annotations

from pathlib import Path

from secure_xcom.deployment.deployment import Deployment, airflow_is_installed

__all__ = ["Deployment", "airflow_is_installed", "load"]


def load(config: Path | None = None) -> Deployment:
    """Return the deployment that this process belongs to.

    :param config: a file in the form of airflow.cfg to read instead of Airflow's own. Without it, and without an
        installed Airflow, the environment alone is read (``AIRFLOW__SECURE_XCOM__*``).
    :raises CommandError: the file cannot be read.
    :raises SettingInvalid: an option cannot be used.
    """
    if config is None and airflow_is_installed():
        return Deployment.of_airflow()
    from secure_xcom.deployment import config_file

    return config_file.load(config)

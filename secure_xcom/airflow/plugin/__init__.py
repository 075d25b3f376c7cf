"""What Airflow itself loads: the plugin of its plugin list. The hooks are in
`secure_xcom.airflow.plugin.cluster_policy`."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class SecureXComPlugin(AirflowPlugin):
    """Names the package in ``airflow plugins``.

    It brings no listener on purpose: Airflow refuses every DAG with ``end_from_trigger=True`` as soon as any
    plugin has one (airflow/dag_processing/dagbag.py, bag_dag), and existing DAGs must not change.
    """

    name = "secure_xcom"

"""What Airflow itself loads: the plugin of its plugin list. The hooks are in
`secure_xcom.airflow.plugin.cluster_policy`."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from secure_xcom.deployment import airflow_config


class _Late:
    """An attribute of the plugin that is made when Airflow asks for it, which the API server alone does.

    Every process of Airflow's loads the plugin, and a task must not load the page.
    """

    def __set_name__(self, _: object, name: str) -> None:
        self._name = name
        self._made: list[dict[str, Any]] | None = None

    def __get__(self, _: object, __: object = None) -> list[dict[str, Any]]:
        if self._made is None:
            self._made = []
            if airflow_config.switched_on("ui"):
                from secure_xcom.airflow.plugin.ui import registration

                self._made = getattr(registration, self._name)()
        return self._made


class SecureXComPlugin(AirflowPlugin):
    """Names the package in ``airflow plugins``, and brings the page in Airflow's UI (docs/reference/ui.md).

    It brings no listener on purpose: Airflow refuses every DAG with ``end_from_trigger=True`` as soon as any
    plugin has one (airflow/dag_processing/dagbag.py, bag_dag), and existing DAGs must not change.
    """

    name = "secure_xcom"
    fastapi_apps = _Late()
    fastapi_root_middlewares = _Late()
    react_apps = _Late()

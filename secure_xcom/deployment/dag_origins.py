"""Which origins (bundle, team) this Airflow version reports: an access policy may rely on no more."""

from __future__ import annotations

import inspect

from secure_xcom.deployment.airflow_config import multi_team


def origins_told() -> frozenset[str]:
    """Return which origins of DAGs this Airflow version reports, in the words of
    `secure_xcom.core.access_policy.dag_origin.check_told`."""
    told = {"bundles"}
    if multi_team() and "team_name" in _fields_of_a_run():
        told.add("teams")
    from airflow.policies import task_instance_mutation_hook

    if "dag_run" in inspect.signature(task_instance_mutation_hook).parameters:
        told.add("placed bundles")
    return frozenset(told)


def _fields_of_a_run() -> frozenset[str]:
    try:
        from airflow.sdk.api.datamodels._generated import DagRun
    except ImportError:
        return frozenset()
    return frozenset(DagRun.model_fields)

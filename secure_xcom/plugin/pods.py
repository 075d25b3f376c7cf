"""The service account in an ``executor_config``, where Kubernetes executors read what a task's pod is to be.

The form that Airflow takes is ``{"pod_override": kubernetes.client.models.V1Pod}``
(airflow/providers/cncf/kubernetes/pod_generator.py, PodGenerator.from_obj); a dictionary is read here as well, so
that no other way of writing it goes unseen.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import util
from typing import Any

from secure_xcom.errors import PlacementRefused

_OVERRIDE = "pod_override"
# Kubernetes reads the second where the first is empty; both are written in Python's and in JSON's way.
_NAMES = ("service_account_name", "service_account", "serviceAccountName", "serviceAccount")


def service_accounts(config: Mapping[str, Any]) -> Iterator[str]:
    """The service accounts that an executor_config asks for."""
    spec = _get(config.get(_OVERRIDE), "spec")
    for name in _NAMES:
        if found := _get(spec, name):
            yield str(found)


def with_service_account(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A copy of an executor_config whose pod has this service account.

    :raises PlacementRefused: this process has no Kubernetes provider, which the form is made and kept with.
    """
    pod = copy.deepcopy(config.get(_OVERRIDE))
    if isinstance(pod, dict):
        spec = pod.get("spec")
        kept = {key: value for key, value in (spec if isinstance(spec, dict) else {}).items() if key not in _NAMES}
        return {**config, _OVERRIDE: {**pod, "spec": {**kept, "serviceAccountName": name}}}
    if not can_place():
        raise PlacementRefused(
            f"the service account {name!r} cannot be written here: Airflow's Kubernetes provider is not installed",
            remedy="install apache-airflow-providers-cncf-kubernetes for the scheduler and the API server as well",
        )
    from kubernetes.client import models

    if pod is None:
        pod = models.V1Pod()
    if pod.spec is None:
        # Airflow calls the container of a worker's pod so.
        pod.spec = models.V1PodSpec(containers=[models.V1Container(name="base")])
    pod.spec.service_account_name = name
    pod.spec.service_account = None
    return {**config, _OVERRIDE: pod}


@cache
def can_place() -> bool:
    """Whether what makes a pod, and what Airflow keeps it with in its database, is installed here."""
    try:
        return all(util.find_spec(name) for name in ("kubernetes.client", "airflow.providers.cncf.kubernetes"))
    except ModuleNotFoundError:
        # A package above it is missing.
        return False


def _get(thing: Any, name: str) -> Any:
    if isinstance(thing, Mapping):
        return thing.get(name)
    return getattr(thing, name, None)

"""What the access policy and the deployment want of a task's pod, in the ``executor_config`` of the task.

The form that Airflow takes is ``{"pod_override": kubernetes.client.models.V1Pod}``
(airflow/providers/cncf/kubernetes/pod_generator.py, PodGenerator.from_obj); a dictionary is read here as well, so
that no other way of writing it goes unseen.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from importlib import util
from typing import Any

from secure_xcom.airflow.plugin.harmless_config import LABELS, POD_OVERRIDE, plain
from secure_xcom.core.policy_errors import PlacementRefused

# Kubernetes reads the second where the first is empty; both are written in Python's and in JSON's way.
POD_FORM = "pod_override is a kubernetes.client.models.V1Pod"
_NAMES = ("service_account_name", "service_account", "serviceAccountName", "serviceAccount")


def service_accounts(config: object) -> Iterator[str]:
    """Return the service accounts that an executor_config asks for."""
    spec = _get(_get(config, POD_OVERRIDE), "spec")
    for name in _NAMES:
        if account := _get(spec, name):
            yield str(account)


def as_data(config: object) -> object:
    """Return an executor_config whose pod is data, as `secure_xcom.airflow.plugin.harmless_config.check` reads it.

    :raises PlacementRefused: its pod is none.
    """
    if not isinstance(config, Mapping) or config.get(POD_OVERRIDE) is None:
        return config
    return {**config, POD_OVERRIDE: plain(config[POD_OVERRIDE])}


def placed(config: Mapping[str, Any], account: str | None) -> dict[str, Any]:
    """Return a copy of an executor_config whose pod has a service account and the labels of the deployment.

    :param account: None leaves it to the pod template.
    :raises PlacementRefused: this process has no Kubernetes provider, which the form is made and kept with.
    """
    pod = copy.deepcopy(config.get(POD_OVERRIDE))
    if isinstance(pod, dict):
        return {**config, POD_OVERRIDE: _placed_dictionary(pod, account)}
    if not can_place():
        raise PlacementRefused(
            f"the pod of service account {account or 'of the template'!r} cannot be written here: Airflow's "
            "Kubernetes provider is not installed",
            remedy="install apache-airflow-providers-cncf-kubernetes for the scheduler and the API server as well",
        )
    from kubernetes.client import models

    if pod is None:
        pod = models.V1Pod()
    if not isinstance(pod, models.V1Pod):
        raise PlacementRefused(f"its {POD_FORM}, and this is a {type(pod).__name__:.60}")
    if pod.metadata is None:
        pod.metadata = models.V1ObjectMeta()
    pod.metadata.labels = {**(pod.metadata.labels or {}), **LABELS}
    if account is not None:
        if pod.spec is None:
            # Airflow calls the container of a worker's pod so.
            pod.spec = models.V1PodSpec(containers=[models.V1Container(name="base")])
        pod.spec.service_account_name = account
        pod.spec.service_account = None
    return {**config, POD_OVERRIDE: pod}


@lru_cache(maxsize=1024)
def of_the_policy(account: str | None) -> dict[str, Any]:
    """Return what `placed` gives a task without requests. Made once: a scheduler asks for each instance.

    Nobody changes it: Airflow's executor copies the override before it makes a pod of it.
    """
    return placed({}, account)


def _placed_dictionary(pod: dict[str, Any], account: str | None) -> dict[str, Any]:
    metadata, spec = pod.get("metadata"), pod.get("spec")
    metadata = metadata if isinstance(metadata, dict) else {}
    labels = metadata.get("labels")
    metadata = {**metadata, "labels": {**(labels if isinstance(labels, dict) else {}), **LABELS}}
    if account is None:
        return {**pod, "metadata": metadata}
    others = {key: value for key, value in (spec if isinstance(spec, dict) else {}).items() if key not in _NAMES}
    return {**pod, "metadata": metadata, "spec": {**others, "serviceAccountName": account}}


@cache
def can_place() -> bool:
    """Return whether the libraries that make a pod and store it in Airflow's database are installed."""
    try:
        return all(util.find_spec(name) for name in ("kubernetes.client", "airflow.providers.cncf.kubernetes"))
    except ModuleNotFoundError:
        # A package above it is missing.
        return False


def _get(thing: Any, name: str) -> Any:
    if isinstance(thing, Mapping):
        return thing.get(name)
    return getattr(thing, name, None)

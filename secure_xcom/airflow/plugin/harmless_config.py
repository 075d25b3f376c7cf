"""What a task's ``executor_config`` may hold: the fields that are known to choose no identity, for each executor.

Executors merge it into what they start: a pod, a call of ECS or Batch. There it could bring a service account or a
role, so what is not listed here is refused. docs/concepts/placement.md says why each field is listed or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from secure_xcom.core.access_policy.executors import Kind
from secure_xcom.core.policy_errors import PlacementRefused

POD_OVERRIDE = "pod_override"
LABELS = {"secure-xcom": "task"}
"""Labels that a deployment relies on: the NetworkPolicy of deploy/helm selects the pods of tasks by them."""

# Airflow finds a pod's task by these (airflow/providers/cncf/kubernetes/kubernetes_helper_functions.py).
_AIRFLOWS = {"dag_id", "task_id", "run_id", "try_number", "map_index", "logical_date", "execution_date"}
_ANNOTATIONS = {"cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt"}


def _anything(_value: Any) -> bool:
    return True


def _false(value: Any) -> bool:
    return value is False


def _our_labels(labels: Any) -> bool:
    # Any other one may make the pod an endpoint of a Service, or free of a NetworkPolicy.
    return isinstance(labels, Mapping) and all(LABELS.get(str(key)) == value for key, value in labels.items())


def _private_annotations(annotations: Any) -> bool:
    # Keys with a domain are read by the cluster: by kube2iam for a role, by meshes and networks, by injectors.
    return isinstance(annotations, Mapping) and all(
        str(key) in _ANNOTATIONS or ("/" not in str(key) and str(key) not in _AIRFLOWS) for key in annotations
    )


_SELECTED = {"items": _anything, "name": _anything, "optional": _anything, "defaultMode": _anything}
_CONTAINER = {
    "name": _anything,
    "image": _anything,
    "imagePullPolicy": _anything,
    "command": _anything,
    "args": _anything,
    "workingDir": _anything,
    "env": [
        {
            "name": _anything,
            "value": _anything,
            # No secretKeyRef: a Secret of the namespace may be another compartment's.
            "valueFrom": {"fieldRef": _anything, "resourceFieldRef": _anything},
        }
    ],
    "resources": {"limits": _anything, "requests": _anything},
    "ports": [{"containerPort": _anything, "name": _anything, "protocol": _anything}],
    "volumeMounts": [{"mountPath": _anything, "name": _anything, "readOnly": _anything, "subPath": _anything}],
}
_POD = {
    "apiVersion": _anything,
    "kind": _anything,
    "metadata": {"labels": _our_labels, "annotations": _private_annotations},
    "spec": {
        "containers": [_CONTAINER],
        "initContainers": [_CONTAINER],
        "volumes": [
            {
                "name": _anything,
                "emptyDir": _anything,
                "configMap": _SELECTED,
                "downwardAPI": _anything,
                "projected": {
                    "defaultMode": _anything,
                    "sources": [{"configMap": _SELECTED, "downwardAPI": _anything}],
                },
            }
        ],
        # Compared with the places of the access policy by who calls.
        "serviceAccountName": _anything,
        "serviceAccount": _anything,
        "automountServiceAccountToken": _false,
        # Nodes are no identity: docs/concepts/placement.md says what that asks of a cluster.
        "nodeSelector": _anything,
        "affinity": _anything,
        "tolerations": _anything,
        "topologySpreadConstraints": _anything,
        "activeDeadlineSeconds": _anything,
        "terminationGracePeriodSeconds": _anything,
    },
}
_RESOURCES = [{"type": _anything, "value": _anything}]
_ENVIRONMENT = [{"name": _anything, "value": _anything}]
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html: no roles, cluster, task definition,
# network, capacity provider, volumes (which have a role), tags (by which IAM decides) and no shell.
_ECS = {
    "overrides": {
        "cpu": _anything,
        "memory": _anything,
        "ephemeralStorage": {"sizeInGiB": _anything},
        "containerOverrides": [
            {
                "name": _anything,
                "cpu": _anything,
                "memory": _anything,
                "memoryReservation": _anything,
                "environment": _ENVIRONMENT,
                "resourceRequirements": _RESOURCES,
            }
        ],
    }
}
# https://docs.aws.amazon.com/batch/latest/APIReference/API_SubmitJob.html: no job definition (which has the role),
# no job queue, no node, ECS or EKS overrides, no parameters, no tags.
_BATCH = {
    "containerOverrides": {
        "vcpus": _anything,
        "memory": _anything,
        "environment": _ENVIRONMENT,
        "resourceRequirements": _RESOURCES,
    },
    "timeout": {"attemptDurationSeconds": _anything},
    "retryStrategy": {"attempts": _anything},
}
# What an executor does not read chooses nothing; a pod override is held to its rules wherever it stands, since a
# DAG may be moved to another executor. What is passed on is read by foreign code, which nobody here knows.
_OF_EXECUTORS: dict[str, dict[str, Any]] = {
    "unread": {POD_OVERRIDE: _POD},
    "kubernetes": {POD_OVERRIDE: _POD},
    "ecs": _ECS,
    "batch": _BATCH,
    "passed on": {},
}


def check(config: object, kind: Kind | None, executor: str) -> None:
    """Check what a task asks of its executor.

    :param config: the task's ``executor_config``, with pods as `plain` gives them.
    :param kind: what is known of the executor; None for one that nobody knows.
    :param executor: how it is called in an error.
    :raises PlacementRefused: a field is not known to be harmless; names it.
    """
    allowed = {} if kind is None else _OF_EXECUTORS[kind.config]
    if field := _first_refused(config, allowed, "executor_config"):
        raise PlacementRefused(
            f"it asks for {field:.120}, which may change the identity of a task of {executor}",
            remedy="remove it from the DAG; what every task needs belongs in the executor's own configuration "
            "or pod template. docs/concepts/placement.md lists what a task may ask for",
        )


def plain(pod: Any) -> Any:
    """Return a pod as data, whether it is a model of Kubernetes' client or a dictionary.

    :raises PlacementRefused: there is something in it that is neither.
    """
    if pod is None or isinstance(pod, str | int | float | bool):
        return pod
    if isinstance(pod, Mapping):
        return {str(key): plain(value) for key, value in pod.items() if value is not None}
    if isinstance(pod, list | tuple):
        return [plain(entry) for entry in pod]
    names = getattr(type(pod), "attribute_map", None)
    if not isinstance(names, Mapping):
        raise PlacementRefused(f"its {POD_OVERRIDE} holds a {type(pod).__name__:.60}, which is not part of a pod")
    fields = {str(name): plain(getattr(pod, attribute, None)) for attribute, name in names.items()}
    return {name: value for name, value in fields.items() if value is not None}


def _first_refused(value: Any, allowed: Any, where: str) -> str | None:
    if value is None:
        return None
    if isinstance(allowed, dict):
        if not isinstance(value, Mapping):
            return f"{where} as {type(value).__name__}"
        for key, entry in value.items():
            name = _json_name(key)
            below = f"{where}.{key}"
            if name not in allowed:
                return below
            if refused := _first_refused(entry, allowed[name], below):
                return refused
        return None
    if isinstance(allowed, list):
        if not isinstance(value, list | tuple):
            return f"{where} as {type(value).__name__}"
        refusals = (_first_refused(entry, allowed[0], f"{where}[{number}]") for number, entry in enumerate(value))
        return next((refused for refused in refusals if refused), None)
    passes: Callable[[Any], bool] = allowed
    return None if passes(value) else where


def _json_name(key: object) -> str:
    """Return a field as Kubernetes' JSON has it, for a dictionary that is written with Python's names."""
    text = str(key)
    return text if text == POD_OVERRIDE else re.sub(r"_([a-z])", lambda match: match[1].upper(), text)

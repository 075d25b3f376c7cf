"""Find out what only the pods of tasks have, where KubernetesExecutor starts one for each task.

The scheduler's pod and the API server's have neither the connections of the pod template nor the accounts of the
compartments. So keys and stores that cannot be reached there are no fault, and `check` says where to try them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from secure_xcom.connections.airflow_connections import airflow_connection
from secure_xcom.connections.connection_ids import connection_id, variable
from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.findings import Finding
from secure_xcom.core.service_errors import ConnectionUnknown
from secure_xcom.deployment import airflow_config

# Set by the executor in every pod that it starts (airflow.providers.cncf.kubernetes.pod_generator).
_IN_TASK_POD = "AIRFLOW_IS_K8S_EXECUTOR_POD"
_EXECUTOR = "KubernetesExecutor"
_TASK_CONTAINER = "base"
# One of these tells that a process has a login of its own, other than the node's, which is nobody's alone.
_CREDENTIALS = {
    "vault": ("VAULT_ADDR",),
    "vault-kv": ("VAULT_ADDR",),
    **dict.fromkeys(
        ("aws-kms", "s3"),
        (
            "AWS_ROLE_ARN",
            "AWS_ACCESS_KEY_ID",
            "AWS_PROFILE",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        ),
    ),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "abfs": ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_SECRET", "AZURE_STORAGE_ACCOUNT_KEY"),
}
_TRY_THERE = "run `secure-xcom check` in a pod of the template (docs/how-to/deploy-on-kubernetes.md)"


@dataclass(frozen=True)
class TaskPods:
    """The pods in which tasks run, seen from a process that is none of them.

    :ivar template: the path of the pod template.
    :ivar variables: the environment variables that it sets for a task; None if it cannot be read here.
    :ivar more: whether its pods have connections from elsewhere too (``envFrom``, a secrets backend).
    :ivar only: whether no other executor runs tasks.
    """

    template: str
    variables: frozenset[str] | None
    more: bool
    only: bool

    def run(self, compartment: Compartment) -> bool:
        """Check whether a compartment's tasks run in pods."""
        placed = compartment.tasks_run_on
        return self.only or bool(placed and placed.service_account)


def of_this_airflow(
    option: Callable[[str, str], str | None] = airflow_config.option, environment: Mapping[str, str] = os.environ
) -> TaskPods | None:
    """Return the pods of tasks; None in such a pod, and where no executor starts any.

    :param option: returns an option of Airflow's configuration.
    """
    executors = (option("core", "executor") or "").replace(";", ",").split(",")
    in_pods = [name for name in executors if name.rstrip().endswith(_EXECUTOR)]
    if not in_pods or environment.get(_IN_TASK_POD):
        return None
    template = option("kubernetes_executor", "pod_template_file") or ""
    backends = (option("workers", "secrets_backend"), option("secrets", "backend"))
    container = _task_container(template)
    return TaskPods(
        template or "Airflow's own pod template",
        None if container is None else frozenset(str(entry.get("name")) for entry in container.get("env") or ()),
        more=any(backends) or bool(container and container.get("envFrom")),
        only=len(in_pods) == len(executors),
    )


def _task_container(template: str) -> dict[str, Any] | None:
    try:
        pod = yaml.safe_load(Path(template).read_text()) if template else None
        containers = pod["spec"]["containers"] if pod else ()
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        # Only the scheduler has it mounted, and what is wrong with it, its executor reports.
        return None
    named = [container for container in containers if container.get("name") == _TASK_CONTAINER]
    return next(iter(named or containers), None)


def only_in_pods(policy: AccessPolicy, pods: TaskPods) -> tuple[Compartment, ...]:
    """Return the compartments whose tasks run in pods, and whose keys this process has no login for."""
    return tuple(own for own in policy.compartments if pods.run(own) and not all(map(has_login, own.key_uris)))


def has_login(uri: str) -> bool:
    """Return whether this process has what a key, a store, a sink or a claims table is reached with."""
    scheme = uri.partition("://")[0]
    conn_id = connection_id(uri)
    if conn_id is not None:
        return variable(conn_id) in os.environ or _airflow_finds(conn_id)
    if scheme == "local":
        return Path(unquote(urlsplit(uri).path)).exists()
    return scheme not in _CREDENTIALS or any(os.environ.get(name) for name in _CREDENTIALS[scheme])


def _airflow_finds(conn_id: str) -> bool:
    try:
        airflow_connection(conn_id, where="check", named="the id")
    except ConnectionUnknown:
        return False
    return True


def findings(
    pods: TaskPods, compartments: Sequence[Compartment], uses: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """Report what is not tried here, and which connections exist only in pods of tasks.

    :param compartments: those of `only_in_pods`.
    :param uses: the id of each connection that is not known to be stored anywhere, and what it is used for.
    """
    if compartments:
        names = ", ".join(_as_whom(own) for own in compartments[:5])
        yield Finding(
            "task pods",
            "ok",
            f"tasks run in pods of {pods.template}, and this is not one of them, so keys and stores of "
            f"{names} are "
            f"not tried here; {_TRY_THERE}",
        )
    for conn_id, what in uses.items():
        if not has_login(f"db://{conn_id}"):
            yield _connection(pods, conn_id, f"of {', '.join(what[:5])}")


def _as_whom(compartment: Compartment) -> str:
    account = compartment.tasks_run_on and compartment.tasks_run_on.service_account
    return f"{compartment.name} (service account {account})" if account else compartment.name


def _connection(pods: TaskPods, conn_id: str, used: str) -> Finding:
    subject, name = f"connection {conn_id}", variable(conn_id)
    if pods.variables is None:
        text = (
            f"{used} is not here, and {pods.template} cannot be read here; check shows more in the scheduler's pod"
        )
        return Finding(subject, "ok", text)
    if name in pods.variables:
        return Finding(subject, "ok", f"{used} exists only in pods of tasks: {pods.template} sets {name}")
    if pods.more:
        text = f"{used} is neither here nor in {pods.template}, but may come from elsewhere; {_TRY_THERE}"
        return Finding(subject, "ok", text)
    return Finding(
        subject,
        "error",
        f"{used} is neither here nor in {pods.template}, so no task can find it",
        f"set {name} for the container {_TASK_CONTAINER!r} of the pod template",
    )

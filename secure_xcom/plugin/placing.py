"""Sends tasks where the access policy says: operators when their file is parsed, task instances when made.

The first gives DAG authors an import error that says what to change. It runs in the same process as their file, so
a file that means harm can undo it; the second runs in the scheduler and the API server, which load no DAG file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from secure_xcom import airflow_settings
from secure_xcom.access import AccessPolicy, Compartment, Origin, Placement, check_told, placement, watched
from secure_xcom.errors import PlacementRefused, PolicyInvalid, SecureXComError
from secure_xcom.plugin import pods

log = logging.getLogger(__name__)

HOLD = "held by secure_xcom: see the log of the scheduler and the API server"
"""A pool that does not exist: Airflow runs nothing in such a one, and shows its name."""

_DEFAULT_POOL = "default_pool"
_ATTRIBUTES = ("queue", "pool", "executor")

# A process's settings do not change while it runs, and these are read for each task instance.
path = cache(airflow_settings.placing_policy)
_default_queue = cache(airflow_settings.default_queue)
_told = cache(airflow_settings.origins_told)
_policy_path = cache(airflow_settings.policy_path)
# A file's path is resolved once, not for each of its tasks.
_bundle_of = lru_cache(maxsize=256)(airflow_settings.bundle_of)


def place_dag(dag: Any) -> None:
    """Refuse a DAG that is not from where its compartment takes DAGs, and place its deadlines' callbacks.

    :raises SecureXComError: it is refused, or the access policy cannot be used.
    """
    found = _of_dag(dag)
    for callback in _callbacks(dag):
        executor = getattr(callback, "executor", None)
        found.check({} if executor is None else {"executor": executor}, "callback of a deadline")
        if "executor" in found.places and hasattr(callback, "executor"):
            callback.executor = found.places["executor"]


def place_task(task: Any) -> None:
    """Send a task of a DAG file to its compartment's place.

    :raises SecureXComError: it is refused, or the access policy cannot be used.
    """
    found = _of_dag(task.get_dag())
    config = task.executor_config or {}
    asked = {
        field: value for field in _ATTRIBUTES if (value := getattr(task, field)) and value != _by_default(field)
    }
    for account in pods.service_accounts(config):
        found.check({"service_account": account}, f"task {task.task_id}")
    found.check(asked, f"task {task.task_id}")
    partial = getattr(task, "partial_kwargs", None)
    for field in _ATTRIBUTES:
        if field in found.places:
            _set(task, partial, field, found.places[field])
    # The service account is written by `place_instance` alone: what makes a pod would have to be loaded for every
    # DAG file, and a DAG that is serialized with it here and without it there would change its version each time.


def place_instance(instance: Any, run: Any) -> None:
    """Send a task instance to its compartment's place, or hold it. Never raises: Airflow would end.

    :param run: the DAG run, as far as Airflow gives it.
    """
    try:
        found = _of_instance(instance.dag_id, run)
        places = dict(found.places)
        account = places.pop("service_account", None)
        config = instance.executor_config or {}
        # A task that was given another place after its file was parsed is brought back; only what another
        # compartment's identity hangs on, and its own compartment says nothing about, has nowhere to go.
        found.check(
            {f: v for f, v in _asked(instance, config) if f not in found.places}, f"task {instance.task_id}"
        )
        if account is not None:
            instance.executor_config = pods.with_service_account(config, account)
    except Exception as error:  # noqa: BLE001  # the scheduler must run on, and this task must not
        _say(instance.dag_id, str(error) if isinstance(error, SecureXComError) else type(error).__name__)
        instance.pool = HOLD
        return
    if instance.pool == HOLD:
        task = getattr(instance, "task", None)
        if task is None:
            # Only clearing it sets it free, which starts from its task again: two bundles that take turns in
            # defining a DAG must not get a task through between two turns.
            return
        # It was held when less was known of it.
        instance.pool = task.pool
    for field, value in places.items():
        setattr(instance, field, value)


def compartment_of(dag_id: str) -> Compartment | None:
    """The compartment of a DAG, where there is an access policy.

    :raises PolicyInvalid: the access policy cannot be used.
    """
    policy_path = _policy_path()
    return watched(policy_path).current().resolve_dag(dag_id) if policy_path else None


def read_ahead() -> None:
    """Read the policy file before a fork, so that no child has to. What is wrong with it, a child says."""
    if path() is not None:
        try:
            watched(str(path())).current()
        except PolicyInvalid as error:
            log.debug("The access policy cannot be used: %s", error)


def _of_dag(dag: Any) -> Placement:
    policy = watched(str(path())).current()
    _check_supported(policy)
    if not _asks_for_origin(policy.resolve_dag(dag.dag_id)):
        return placement(policy, dag.dag_id)
    bundle = _bundle_of(dag.fileloc) if dag.fileloc else None
    team = airflow_settings.team_of(bundle)
    # Where the configuration does not tell, the scheduler knows, and the worker as well.
    return placement(policy, dag.dag_id, Origin(bundle, team), unknown_passes=True)


def _of_instance(dag_id: str, run: Any) -> Placement:
    policy = _policy_of_a_scheduler()
    compartment = policy.resolve_dag(dag_id)
    if compartment is None or not _asks_for_origin(compartment):
        return placement(policy, dag_id)
    # What the executor is told to load is the bundle of this row (airflow/executors/workloads/task.py).
    bundle = getattr(getattr(run, "dag_model", None), "bundle_name", None)
    origin = Origin(bundle, airflow_settings.team_of(bundle))
    return placement(policy, dag_id, origin, unknown_passes=compartment.tasks_run_on is None and run is None)


def _asks_for_origin(compartment: Compartment | None) -> bool:
    return compartment is not None and not (compartment.bundles is None and compartment.teams is None)


def _policy_of_a_scheduler() -> AccessPolicy:
    """The policy now, or the last one that could be used: a file that is being edited must not hold every task.

    :raises PolicyInvalid: there was none since this process started.
    """
    file = watched(str(path()))
    try:
        policy = file.current()
    except PolicyInvalid as error:
        if file.last_good is None:
            raise
        _say("every DAG", f"{error} Until then tasks are placed by the last file that could be used.")
        return file.last_good
    _check_supported(policy)
    return policy


@lru_cache(maxsize=2)
def _check_supported(policy: AccessPolicy) -> None:
    """Once for each policy, which may have thousands of entries: a scheduler asks for each task instance."""
    check_told(policy.compartments, _told(), where=str(path()))


def _asked(instance: Any, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field in _ATTRIBUTES:
        value = getattr(instance, field)
        if value and value != _by_default(field):
            yield field, value
    for account in pods.service_accounts(config):
        yield "service_account", account


def _by_default(field: str) -> str | None:
    return {"queue": _default_queue(), "pool": _DEFAULT_POOL}.get(field)


def _set(task: Any, partial: dict[str, Any] | None, field: str, value: Any) -> None:
    if partial is None:
        setattr(task, field, value)
        return
    mapped = getattr(getattr(task, "expand_input", None), "value", None)
    if isinstance(mapped, Mapping) and field in mapped:
        raise PlacementRefused(
            f"it is mapped over {field}, which the access policy's tasks_run_on says",
            where=f"DAG {task.dag_id}, task {task.task_id}",
        )
    # The operator is made from these when it is expanded, and the scheduler reads them.
    partial[field] = value


def _callbacks(dag: Any) -> Iterator[Any]:
    deadlines = getattr(dag, "deadline", None) or ()
    for alert in deadlines if isinstance(deadlines, (list, tuple)) else (deadlines,):
        yield getattr(alert, "callback", None)


@lru_cache(maxsize=1000)
def _say(subject: str, why: str) -> None:
    log.error("secure_xcom: %s: %s", subject, why)

"""Sends tasks where the access policy says: operators when their file is parsed, task instances when made.

The first gives DAG authors an import error that says what to change. It runs in the same process as their file, so
a file that means harm can undo it; the second runs in the scheduler and the API server, which load no DAG file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from secure_xcom.airflow.plugin import airflow_executors, placement_requests, placement_settings
from secure_xcom.core.access_policy.dag_origin import Origin, check_told
from secure_xcom.core.access_policy.dag_placement import Placement, placement
from secure_xcom.core.access_policy.executors import Executors
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.watched_policy import watched
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.policy_errors import PlacementRefused, PolicyInvalid
from secure_xcom.deployment import airflow_config, dag_origins

log = logging.getLogger(__name__)

HOLD = "held by secure_xcom: see the log of the scheduler and the API server"
"""A pool that does not exist: Airflow runs no task in it, and shows its name."""

# A process's settings do not change while it runs, and these are read for each task instance.
path = cache(airflow_config.placing_policy)
_multi_team = cache(airflow_config.multi_team)
_told = cache(dag_origins.origins_told)
# A file's path is resolved once, not for each of its tasks.
_bundle_of = lru_cache(maxsize=256)(placement_settings.bundle_of)


def or_violation(place: Callable[[Any], None], subject: Any) -> None:
    """Place a DAG or a task of a DAG file.

    :raises AirflowClusterPolicyViolation: it is refused; Airflow shows that as the file's import error.
    """
    from airflow.exceptions import AirflowClusterPolicyViolation

    try:
        place(subject)
    except SecureXComError as error:
        raise AirflowClusterPolicyViolation(str(error)) from None


def place_dag(dag: Any) -> None:
    """Refuse a DAG that is not from where its compartment takes DAGs, and place its deadlines' callbacks.

    :raises SecureXComError: it is refused, or the access policy cannot be used.
    """
    placement_of_dag = _of_dag(dag)
    for callback in _callbacks(dag):
        executor = getattr(callback, "executor", None)
        if not airflow_executors.runs_a_task():
            placement_requests.check_callback(placement_of_dag, executor, "callback of a deadline")
        if "executor" in placement_of_dag.places and hasattr(callback, "executor"):
            callback.executor = placement_of_dag.places["executor"]


def place_task(task: Any) -> None:
    """Send a task of a DAG file to its compartment's place.

    :raises SecureXComError: it is refused, or the access policy cannot be used.
    """
    placement_of_dag = _of_dag(task.get_dag())
    where = f"task {task.task_id}"
    placement_requests.check_not_mapped(placement_of_dag, task, where)
    placement_requests.check_task(placement_of_dag, task, where, in_task=airflow_executors.runs_a_task())
    partial = getattr(task, "partial_kwargs", None)
    for field in placement_requests.ATTRIBUTES:
        if field in placement_of_dag.places:
            _set(task, partial, field, placement_of_dag.places[field])
    # The pod is written by `place_instance` alone: what makes a pod would have to be loaded for every DAG file,
    # and a DAG serialized with it here and without it there would change its version each time.


def place_instance(instance: Any, run: Any) -> None:
    """Send a task instance to its compartment's place, or hold it. Never raises: Airflow would end.

    :param run: the DAG run, as far as Airflow gives it.
    """
    try:
        placement_of_dag = _of_instance(instance.dag_id, run)
        config = placement_requests.placed_config(placement_of_dag, instance, f"task {instance.task_id}")
    except Exception as error:  # noqa: BLE001  # the scheduler must run on, and this task must not
        say(instance.dag_id, str(error) if isinstance(error, SecureXComError) else type(error).__name__)
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
    if config is not None:
        instance.executor_config = config
    for field in placement_requests.ATTRIBUTES:
        if field in placement_of_dag.places:
            setattr(instance, field, placement_of_dag.places[field])


def place_callback(data: Mapping[str, Any], bundle: str | None, loaded: str | None) -> dict[str, Any]:
    """Return the data of a callback that an executor is about to run, with its compartment's place.

    :param data: as Airflow's table has it (airflow/models/callback.py).
    :param bundle: the bundle that the callback is from; :param loaded: the one that its DAG is of by now, out of
        which the executor takes the code (airflow/executors/workloads/callback.py).
    :raises SecureXComError: it must not run there, or the access policy cannot be used.
    """
    dag_id = data.get("dag_id")
    if not isinstance(dag_id, str):
        raise PlacementRefused("a callback without a DAG cannot be placed", where="callback of a deadline")
    policy = _policy_of_a_scheduler()
    placement_of_dag = _of_bundle(policy, dag_id, bundle)
    if loaded != bundle:
        # Another bundle took the DAG over since: its code must not get the place of the one that was there.
        placement_of_dag = _of_bundle(policy, dag_id, loaded)
    placement_requests.check_callback(
        placement_of_dag, data.get("executor"), "callback of a deadline", queue=data.get("queue")
    )
    # The CeleryExecutor reads the queue here (its _process_workloads).
    return {
        **data,
        **{
            field: placement_of_dag.places[field]
            for field in ("executor", "queue")
            if field in placement_of_dag.places
        },
    }


def _of_dag(dag: Any) -> Placement:
    policy = watched(str(path())).current()
    _check_supported(policy)
    names = Executors() if airflow_executors.runs_a_task() else airflow_executors.configured()
    if not _asks_for_origin(policy, dag.dag_id):
        return placement(policy, dag.dag_id, executors=names)
    bundle = _bundle_of(dag.fileloc) if dag.fileloc else None
    origin = Origin(bundle, placement_settings.team_of(bundle))
    # Where the configuration does not tell, the scheduler knows, and the worker as well.
    return placement(policy, dag.dag_id, origin, unknown_passes=True, executors=names)


def _of_instance(dag_id: str, run: Any) -> Placement:
    policy = _policy_of_a_scheduler()
    # What the executor is told to load is the bundle of this row (airflow/executors/workloads/task.py).
    bundle = getattr(getattr(run, "dag_model", None), "bundle_name", None) if run is not None else None
    compartment = policy.resolve_dag(dag_id)
    placed = (compartment is not None and compartment.tasks_run_on is not None) or policy.runner(
        dag_id
    ) is not None
    return _of_bundle(policy, dag_id, bundle, unknown_passes=run is None and not placed)


def _of_bundle(
    policy: AccessPolicy, dag_id: str, bundle: str | None, *, unknown_passes: bool = False
) -> Placement:
    names = airflow_executors.configured()
    if not _asks_for_origin(policy, dag_id):
        return placement(policy, dag_id, executors=names)
    origin = Origin(bundle, placement_settings.team_of(bundle))
    return placement(policy, dag_id, origin, unknown_passes=unknown_passes, executors=names)


def _asks_for_origin(policy: AccessPolicy, dag_id: str) -> bool:
    """Return whether it matters where a DAG is from: the policy says so, or executors belong to teams."""
    compartment, runner = policy.resolve_dag(dag_id), policy.runner(dag_id)
    sources = (compartment, None if runner is None else runner.runs_on)
    return _multi_team() or any(
        source is not None and not (source.bundles is None and source.teams is None) for source in sources
    )


def _policy_of_a_scheduler() -> AccessPolicy:
    """Return the policy, or the last one that could be used: a file that is being edited must not hold all tasks.

    :raises PolicyInvalid: there was none since this process started.
    """
    file = watched(str(path()))
    try:
        policy = file.current()
    except PolicyInvalid as error:
        if file.last_good is None:
            raise
        say("every DAG", f"{error} Until then, tasks are placed by the last valid file.")
        return file.last_good
    _check_supported(policy)
    return policy


@lru_cache(maxsize=2)
def _check_supported(policy: AccessPolicy) -> None:
    """Check a policy once: it may have thousands of entries, and a scheduler asks for each task instance."""
    check_told(policy.compartments, _told(), where=str(path()), identities=policy.identities)


def _set(task: Any, partial: dict[str, Any] | None, field: str, value: Any) -> None:
    if partial is None:
        setattr(task, field, value)
        return
    # The operator is made from these when it is expanded, and the scheduler reads them.
    partial[field] = value


def _callbacks(dag: Any) -> Iterator[Any]:
    deadlines = getattr(dag, "deadline", None) or ()
    for alert in deadlines if isinstance(deadlines, (list, tuple)) else (deadlines,):
        yield getattr(alert, "callback", None)


@lru_cache(maxsize=1000)
def say(subject: str, why: str) -> None:
    """Log once why something is held."""
    log.error("secure_xcom: %s: %s", subject, why)

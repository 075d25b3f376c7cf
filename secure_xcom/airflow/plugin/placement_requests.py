"""What a task asks for of where and as whom it runs: every field of Airflow's that says so, and its defaults.

The fields: ``queue`` (the triggerer's queue, too: airflow/sdk/execution_time/task_runner.py, _defer_task),
``executor``, ``executor_config``, ``run_as_user`` and ``pool``, from operators, default_args, partial() and
expand(); and the ``executor`` of a deadline's callback. Nothing reads an operator's ``resources``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from secure_xcom.airflow.plugin import airflow_executors, harmless_config, placement_settings, service_accounts
from secure_xcom.core.access_policy.dag_placement import Placement
from secure_xcom.core.access_policy.executors import Executor
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.policy_errors import PlacementRefused

ATTRIBUTES = ("queue", "pool", "executor", "run_as_user")
"""The attributes of a task, and of a task instance, that a place is written to."""
# From Airflow 3.4 on, tasks of a team that name no pool are given `default_pool_TEAM` before a cluster policy sees
# them (_assign_default_team_pools in airflow/dag_processing/dagbag.py).
_DEFAULT_POOL = "default_pool"
_KUBERNETES = "kubernetes"

# A process's settings do not change while it runs, and these are read for each task instance.
_default_queue = cache(placement_settings.default_queue)
_default_user = cache(placement_settings.default_impersonation)
_pod_template = cache(placement_settings.pod_template)


def check_task(placement: Placement, task: Any, where: str, *, in_task: bool = False) -> None:
    """Check what a task of a DAG file, or a task instance, asks for.

    :param in_task: whether this is the task's own process, which knows nothing of executors.
    :param where: how the task is called in an error.
    :raises PlacementRefused: it asks for what is not its own.
    """
    config = task.executor_config or {}
    requested = dict(_asked(task, placement, in_task=in_task))
    for account in service_accounts.service_accounts(config):
        placement.check({"service_account": account}, where)
    placement.check(requested, where)
    if not placement.closed:
        return
    defaults = {"queue": _default_queue(), "run_as_user": _default_user()}
    placement.check_defaults(
        {field: value for field, value in defaults.items() if value and field not in requested}, where
    )
    if in_task:
        return
    executor = _checked_executor(placement, requested.get("executor"), where)
    if _is_kubernetes(executor) and not any(True for _ in service_accounts.service_accounts(config)):
        template = _template_account()
        placement.check_defaults({"service_account": template} if template else {}, where)
    _check_config(placement, config, executor, where)


def placed_config(placement: Placement, instance: Any, where: str) -> dict[str, Any] | None:
    """Check what a task instance asks for; its executor_config with its place, or None to leave it.

    A task that was given another place after its file was parsed is brought back, so what the access policy places
    is not looked at. Only what it says nothing about has nowhere to go.

    :raises PlacementRefused: it must not run.
    """
    requested = instance.executor_config or {}
    account = placement.places.get("service_account")
    executor = _executor(placement, _text(getattr(instance, "executor", None)))
    placed = None
    if account is not None or (
        placement.closed and _is_kubernetes(executor) and (requested or service_accounts.can_place())
    ):
        placed = (
            service_accounts.placed(requested, account) if requested else service_accounts.of_the_policy(account)
        )
    # What is written here is the access policy's, as it was the last time; what the task asked for is looked at.
    alone = not requested or (placed is not None and requested == service_accounts.of_the_policy(account))
    check_task(placement, _Placed(instance, placement.places, {} if alone else placed or requested), where)
    return placed


def check_callback(placement: Placement, executor: object, where: str, *, queue: object = None) -> None:
    """Check where a callback runs that an executor is to run: on the default queue, where it has any.

    :param queue: Airflow's own callbacks name none; what a DAG file's process hands over may.
    :raises PlacementRefused: that is not its own place.
    """
    requested = {"executor": executor, "queue": queue}
    placement.check({field: value for field, value in requested.items() if value is not None}, where)
    if placement.closed:
        chosen = _checked_executor(placement, executor, where)
        if chosen is None or chosen.kind is None or chosen.kind.splits_by == "queue":
            placement.check_defaults({"queue": _default_queue()}, where)


def check_not_mapped(placement: Placement, task: Any, where: str) -> None:
    """Check that a task is not mapped over what says where it runs: there it would be known too late.

    :raises PlacementRefused: it is.
    """
    value = getattr(getattr(task, "expand_input", None), "value", None)
    fields = {*ATTRIBUTES, "executor_config"} if placement.closed else set(placement.places)
    entries = value if isinstance(value, list | tuple) else [value]
    for entry in entries:
        mapped = sorted(fields & set(map(str, entry))) if isinstance(entry, Mapping) else ()
        if mapped:
            raise PlacementRefused(
                f"it is mapped over {mapped[0]}, which the access policy's tasks_run_on says",
                where=f"DAG {placement.dag_id}, {where}",
            )


class _Placed:
    """A task instance as it will be, once it has its place."""

    def __init__(self, instance: Any, places: Mapping[str, str], config: Mapping[str, Any]) -> None:
        for field in ATTRIBUTES:
            setattr(self, field, places.get(field) or getattr(instance, field, None))
        self.executor_config = config


def _asked(task: Any, placement: Placement, *, in_task: bool) -> Iterator[tuple[str, object]]:
    """Yield what a task names that differs from Airflow's defaults."""
    defaults = {
        "queue": (_default_queue(),),
        "pool": (_DEFAULT_POOL, f"{_DEFAULT_POOL}_{placement.team}"),
        "run_as_user": (_default_user(),),
    }
    for field in ATTRIBUTES:
        value = getattr(task, field, None)
        if not value or value in defaults.get(field, ()):
            continue
        if field == "executor" and in_task:
            continue
        if field == "executor" and field not in placement.places:
            names = airflow_executors.configured()
            named = names.find(str(value), placement.team) if type(value) is str else None
            if named is not None and named == names.default(placement.team):
                continue
        yield field, value


def _checked_executor(placement: Placement, requested: object, where: str) -> Executor | None:
    """Return the executor that a task will run on, where Airflow's configuration names it.

    :raises PlacementRefused: it is Airflow's default, and somebody else's or of a class that nobody knows.
    """
    executor = _executor(placement, _text(requested))
    if executor is None or "executor" in placement.places or requested:
        return executor
    placement.check_defaults({"executor": executor}, where)
    if executor.kind is None and not placement.may_use("executor", executor):
        raise PlacementRefused(
            f"Airflow's default executor {str(executor)!r:.120} is of a class that secure_xcom does not know, "
            "so it cannot tell what a task may ask of it",
            where=f"DAG {placement.dag_id}, {where}",
            remedy=f"if its workers have no identity of their own, add {executor.module_path!r:.120} to "
            "open_places of the access policy (`executor`); otherwise add it to the tasks_run_on of its owner",
        )
    return executor


def _executor(placement: Placement, requested: str | None) -> Executor | None:
    names = airflow_executors.configured()
    name = placement.places.get("executor") or requested
    return names.default(placement.team) if not name else names.find(name, placement.team)


def _check_config(placement: Placement, config: Any, executor: Executor | None, where: str) -> None:
    if not config:
        return
    kind = None if executor is None else executor.kind
    try:
        harmless_config.check(service_accounts.as_data(config), kind, str(executor or "an unknown executor"))
    except SecureXComError as error:
        raise PlacementRefused(error.what, where=f"DAG {placement.dag_id}, {where}", remedy=error.remedy) from None


def _is_kubernetes(executor: Executor | None) -> bool:
    return executor is not None and executor.kind is not None and executor.kind.config == _KUBERNETES


@cache
def _template_account() -> str | None:
    """Return the service account of pods whose task names none, where this process has the pod template."""
    path = _pod_template()
    try:
        spec = yaml.safe_load(path.read_text())["spec"] if path else {}
        account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        # The executor reports its template itself; only the scheduler is sure to have it.
        return None
    return str(account) if account else None


def _text(value: object) -> str | None:
    return value if type(value) is str and value else None

"""Executors by their names, and what a task can ask each of them for. Knows no Airflow.

An executor has up to three names that mean the same one: an alias, its class's name and its module path
(airflow/executors/executor_loader.py, lookup_executor_name_by_str). Names are compared after they are resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Config = Literal["unread", "kubernetes", "ecs", "batch", "passed on"]
"""What becomes of a task's ``executor_config``: nothing, a pod, part of a call, input of foreign code."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of an executor's class.

    :ivar splits_by: the field that tells its workers apart, if any does: then the executor itself is no identity.
    """

    splits_by: str | None
    config: Config


_AMAZON = "airflow.providers.amazon.aws.executors"
_EDGE = "airflow.providers.edge3.executors"
# Read in Airflow 3.3.2 and its providers celery, cncf-kubernetes, amazon and edge3 (5.1.0). A class from
# elsewhere, even a subclass of one of these, may read what these do not.
KINDS: dict[str, Kind] = {
    "airflow.executors.local_executor.LocalExecutor": Kind(None, "unread"),
    "airflow.providers.celery.executors.celery_executor.CeleryExecutor": Kind("queue", "unread"),
    "airflow.providers.cncf.kubernetes.executors.kubernetes_executor.KubernetesExecutor": Kind(
        "service_account", "kubernetes"
    ),
    f"{_EDGE}.edge_executor.EdgeExecutor": Kind("queue", "unread"),
    f"{_AMAZON}.ecs.ecs_executor.AwsEcsExecutor": Kind(None, "ecs"),
    f"{_AMAZON}.batch.batch_executor.AwsBatchExecutor": Kind(None, "batch"),
    f"{_AMAZON}.aws_lambda.lambda_executor.AwsLambdaExecutor": Kind(None, "passed on"),
}
# The providers' documentation names some classes by the package above their module.
_OTHER_PATHS = {
    ".".join((*path.split(".")[:-2], path.rpartition(".")[2])): path
    for path in KINDS
    if path.startswith((_AMAZON, _EDGE))
}
_BY_CLASS = {path.rpartition(".")[2]: path for path in KINDS}


@dataclass(frozen=True, slots=True)
class Executor:
    """One executor of ``[core] executor``.

    :ivar team: the team whose tasks alone it runs; None for everybody.
    """

    module_path: str
    alias: str | None = None
    team: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """Every name that means it."""
        return frozenset({self.module_path, self.module_path.rpartition(".")[2], self.alias or self.module_path})

    @property
    def kind(self) -> Kind | None:
        """What is known of its class; None for one that we do not know."""
        return KINDS.get(_OTHER_PATHS.get(self.module_path, self.module_path))

    def __str__(self) -> str:
        return self.alias or self.module_path


class Executors:
    """The executors of a deployment, in the order of ``[core] executor``; none where nobody knows them.

    :param configured: what Airflow read from its configuration.
    """

    def __init__(self, configured: Iterable[Executor] = ()) -> None:
        self._configured = tuple(configured)

    # What is worked out from a policy and these is kept by them, so two that say the same are the same.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Executors) and self._configured == other._configured

    def __hash__(self) -> int:
        return hash(self._configured)

    def default(self, team: str | None) -> Executor | None:
        """What runs a task that names none (airflow/jobs/scheduler_job_runner.py, _try_to_load_executor)."""
        own = [executor for executor in self._configured if team is not None and executor.team == team]
        return next(iter(own or [executor for executor in self._configured if executor.team is None]), None)

    def find(self, name: str, team: str | None) -> Executor | None:
        """The one that a task of a team gets by a name: the first of those that are its team's or everybody's."""
        for executor in self._configured:
            if name in executor.names and executor.team in (None, team):
                return executor
        return None

    def meant(self, name: str, teams: Sequence[str] | None = None) -> frozenset[str]:
        """What a name of the access policy may mean; compared with `of` by being in it.

        :param teams: those of the compartment, if it has any: another team's executor is not its own.
        """
        found = {
            self.of(executor)
            for executor in self._configured
            if name in executor.names and (teams is None or executor.team is None or executor.team in teams)
        }
        return frozenset(found) or frozenset({self.unknown(name)})

    @staticmethod
    def of(executor: Executor) -> str:
        """One text for one executor, whatever it was called."""
        return f"{executor.team or ''}={_OTHER_PATHS.get(executor.module_path, executor.module_path)}"

    @staticmethod
    def unknown(name: str) -> str:
        """The same for a name that is not configured here: a worker may have another configuration."""
        return f"={_OTHER_PATHS.get(name) or _BY_CLASS.get(name, name)}"

    @staticmethod
    def kind(text: str) -> Kind | None:
        """What is known of an executor's class; of what `of` and `unknown` give."""
        return KINDS.get(text.partition("=")[2])

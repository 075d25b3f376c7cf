"""Executors by their names, and the requests of a task that each of them reads. Imports no Airflow.

An executor has up to three names: an alias, its class's name and its module path
(airflow/executors/executor_loader.py, lookup_executor_name_by_str). Names are resolved before they are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Config = Literal["unread", "kubernetes", "ecs", "batch", "passed on"]
"""The use of a task's ``executor_config``: none, a pod, part of an API call, or input of other code."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The properties of an executor class.

    :ivar splits_by: the field that separates its workers, if there is one. Then the executor itself is not an
        identity.
    """

    splits_by: str | None
    config: Config


_AMAZON = "airflow.providers.amazon.aws.executors"
_EDGE = "airflow.providers.edge3.executors"
# From the source of Airflow 3.3.2 and its providers celery, cncf-kubernetes, amazon and edge3 (5.1.0). Any other
# class, even a subclass of one of these, may read more than these do.
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
        """All names of the executor."""
        return frozenset({self.module_path, self.module_path.rpartition(".")[2], self.alias or self.module_path})

    @property
    def kind(self) -> Kind | None:
        """The properties of its class; None for an unknown class."""
        return KINDS.get(_OTHER_PATHS.get(self.module_path, self.module_path))

    def __str__(self) -> str:
        return self.alias or self.module_path


class Executors:
    """The executors of a deployment, in the order of ``[core] executor``; empty where they are not known.

    :param configured: the executors of Airflow's configuration.
    """

    def __init__(self, configured: Iterable[Executor] = ()) -> None:
        self._configured = tuple(configured)

    # What is worked out from a policy and these is kept by them, so two that say the same are the same.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Executors) and self._configured == other._configured

    def __hash__(self) -> int:
        return hash(self._configured)

    def default(self, team: str | None) -> Executor | None:
        """Return the executor of a task that names none (scheduler_job_runner.py, _try_to_load_executor)."""
        of_team = [executor for executor in self._configured if team is not None and executor.team == team]
        return next(iter(of_team or [executor for executor in self._configured if executor.team is None]), None)

    def find(self, name: str, team: str | None) -> Executor | None:
        """Return the executor that a name means to a task of a team: the first of its team or of no team."""
        for executor in self._configured:
            if name in executor.names and executor.team in (None, team):
                return executor
        return None

    def meant(self, name: str, teams: Sequence[str] | None = None) -> frozenset[str]:
        """Return what a name of the access policy may mean, each as `of` returns it.

        :param teams: the teams of the compartment, if it has any: executors of other teams are left out.
        """
        meanings = {
            self.of(executor)
            for executor in self._configured
            if name in executor.names and (teams is None or executor.team is None or executor.team in teams)
        }
        return frozenset(meanings) or frozenset({self.unknown(name)})

    @staticmethod
    def of(executor: Executor) -> str:
        """Return a text that identifies an executor, whichever of its names was used."""
        return f"{executor.team or ''}={_OTHER_PATHS.get(executor.module_path, executor.module_path)}"

    @staticmethod
    def unknown(name: str) -> str:
        """Return the same for a name that is not configured here: a worker may have another configuration."""
        return f"={_OTHER_PATHS.get(name) or _BY_CLASS.get(name, name)}"

    @staticmethod
    def kind(text: str) -> Kind | None:
        """Return the properties of an executor's class.

        :param text: what `of` or `unknown` returned.
        """
        return KINDS.get(text.partition("=")[2])

"""Where the tasks of a DAG run, as the access policy says: decided on names alone, without Airflow.

What carries an identity (a queue's workers, an executor, a service account) belongs to the compartments that name
it: a DAG of another compartment, or of none, cannot ask for it. A pool carries none and is free for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from secure_xcom.access.model import Compartment
from secure_xcom.access.origin import Origin, mismatch
from secure_xcom.access.policy import AccessPolicy
from secure_xcom.errors import PlacementRefused

_CARRY_IDENTITY = ("queue", "executor", "service_account")
_WORDS = {"service_account": "service account"}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one DAG's tasks run.

    :ivar places: field (``queue``, ``pool``, ``executor``, ``service_account``) -> what the policy says.
    :ivar refuse_elsewhere: whether a task may not name another place than these.
    """

    dag_id: str
    compartment: Compartment | None
    places: Mapping[str, str]
    refuse_elsewhere: bool
    _policy: AccessPolicy

    def check(self, asked: Mapping[str, str], task: str) -> None:
        """Hold what a task asks for against where it runs.

        :param asked: field -> what the DAG's author wrote; what is left to Airflow is not in it.
        :param task: how the task is called in an error.
        :raises PlacementRefused: it asks for another place, or for one of another compartment.
        """
        for field, value in asked.items():
            place = self.places.get(field)
            if value == place:
                continue
            where = f"DAG {self.dag_id}, {task}"
            word = _WORDS.get(field, field)
            rule = f"tasks_run_on of compartment {self._name!r}"
            if place is not None and self.refuse_elsewhere:
                raise PlacementRefused(
                    f"it asks for {word} {value!r:.80}, and {rule} sends it to {word} {place!r}",
                    where=where,
                    remedy=f"leave {word} out of the DAG, or have the access policy changed",
                )
            if place is None and field in _CARRY_IDENTITY:
                owners = _owners(self._policy).get((field, value), ())
                if owners and self._name not in owners:
                    raise PlacementRefused(
                        f"it asks for {word} {value!r:.80}, which is that of compartment {owners[0]!r}: tasks of "
                        + (f"compartment {self._name!r}" if self.compartment else "a DAG of no compartment")
                        + " do not run with its identity",
                        where=where,
                        remedy=f"leave {word} out of the DAG, or give its own compartment a tasks_run_on",
                    )

    @property
    def _name(self) -> str | None:
        return None if self.compartment is None else self.compartment.name


def placement(
    policy: AccessPolicy, dag_id: str, origin: Origin | None = None, *, unknown_passes: bool = False
) -> Placement:
    """Where a DAG's tasks run.

    :param origin: the bundle and the team that the DAG came from.
    :param unknown_passes: True where somebody else, who knows the DAG's origin, checks it as well.
    :raises OriginRefused: the DAG is not from where its compartment takes DAGs.
    """
    compartment = policy.resolve_dag(dag_id)
    on = None if compartment is None else compartment.tasks_run_on
    if compartment is not None:
        found = mismatch(
            compartment, dag_id, origin or Origin(), where=f"DAG {dag_id}", unknown_passes=unknown_passes
        )
        if found is not None:
            raise found.refusal
    if on is None:
        return Placement(dag_id, compartment, {}, refuse_elsewhere=False, _policy=policy)
    return Placement(dag_id, compartment, dict(on.places), refuse_elsewhere=on.refuse_elsewhere, _policy=policy)


@lru_cache(maxsize=2)
def _owners(policy: AccessPolicy) -> dict[tuple[str, str], tuple[str, ...]]:
    """Field and value of each place -> the compartments that name it."""
    table: dict[tuple[str, str], tuple[str, ...]] = {}
    for compartment in policy.compartments:
        for place in compartment.tasks_run_on.places if compartment.tasks_run_on else ():
            table[place] = (*table.get(place, ()), compartment.name)
    return table

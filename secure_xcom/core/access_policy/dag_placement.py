"""The places where the tasks of a DAG may run according to the access policy. Decided by names, without Airflow.

Everything that carries an identity (a queue's workers, an executor, a service account, an operating-system user)
is closed once the policy gives anybody such a place. Then a DAG may use its own compartment's places, those that
are open to all, and Airflow's defaults for a task that names none, unless they belong to somebody else. A pool
carries no identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.dag_origin import Mismatch, Origin, mismatch, mismatch_of
from secure_xcom.core.access_policy.executors import Executor, Executors
from secure_xcom.core.access_policy.field_types import PLAIN_NAME
from secure_xcom.core.access_policy.places import CARRY_IDENTITY, Own, Owner, Places, places_of
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.policy_errors import PlacementRefused

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.identities import Identity

_WORDS = {"service_account": "service account"}
_NAMES_UNKNOWN = Executors()


@dataclass(frozen=True, slots=True)
class Placement:
    """The places of one DAG's tasks.

    :ivar places: field (``queue``, ``pool``, ``executor``, ``service_account``, ``run_as_user``) -> the place.
    :ivar refuse_elsewhere: True if a task must not name another place.
    :ivar rule: the entry of the access policy, for errors.
    :ivar team: the DAG's team, whose executors Airflow prefers.
    """

    dag_id: str
    compartment: Compartment | None
    places: Mapping[str, str]
    refuse_elsewhere: bool
    rule: str
    team: str | None
    _own: Own
    _all: Places

    @property
    def closed(self) -> bool:
        """True if every place that is not open is closed: the access policy gives somebody a place."""
        return self._all.closed

    def check(self, asked: Mapping[str, object], task: str) -> None:
        """Check the places that a task asks for.

        :param asked: field -> the value that the DAG's author wrote. Defaults of Airflow are not included.
        :param task: the task's name in errors.
        :raises PlacementRefused: it asks for another place, or for one that it may not use.
        """
        for field, value in asked.items():
            self._check(field, value, task)

    def check_defaults(self, defaults: Mapping[str, str | Executor], task: str) -> None:
        """Check Airflow's defaults for a task that names no place and gets none from the policy.

        :param defaults: field -> Airflow's default.
        :raises PlacementRefused: a default belongs to somebody else.
        """
        for field, value in defaults.items():
            if not self.closed or field in self.places or self._all.is_open(field, value, self.team):
                continue
            owners = self._all.owners(field, value, self.team)
            if owners and not any(self._is_own(owner) for owner in owners):
                word = _WORDS.get(field, field)
                raise PlacementRefused(
                    f"it names no {word}, and Airflow's default {word} {str(value)!r:.80} is that of {owners[0]}",
                    where=self._where(task),
                    remedy=f"give its compartment a tasks_run_on with a {word}, or give tasks that name none "
                    f"another {word} in Airflow's configuration",
                )

    def may_use(self, field: str, value: str | Executor) -> bool:
        """Check whether the access policy gives a place to this DAG, or to every DAG."""
        own_places = [place for name, place in (*self.places.items(), *self._own.places) if name == field]
        return self._all.is_open(field, value, self.team) or any(
            self._all.same(field, value, place, self.team) for place in own_places
        )

    def _check(self, field: str, value: object, task: str) -> None:
        word = _WORDS.get(field, field)
        place = self.places.get(field)
        text = value if type(value) is str else None
        if text is not None and place is not None and self._all.same(field, text, place, self.team):
            return
        if place is not None:
            if self.refuse_elsewhere:
                raise PlacementRefused(
                    f"it asks for {word} {value!r:.80}, and {self.rule} sends it to {word} {place!r}",
                    where=self._where(task),
                    remedy=f"remove {word} from the DAG, or have the access policy changed",
                )
            return
        if field not in CARRY_IDENTITY or not self.closed:
            return
        if text is None or not PLAIN_NAME.fullmatch(text):
            raise PlacementRefused(
                f"it asks for {word} {value!r:.80}, which has other characters than letters, digits, _ . and -: "
                "brokers and Kubernetes interpret these in different ways",
                where=self._where(task),
                remedy=f"remove {word} from the DAG, or name one of its own compartment's places",
            )
        if self.may_use(field, text):
            return
        owners = self._all.owners(field, text, self.team)
        tasks = (
            f"tasks of compartment {self.compartment.name!r}"
            if self.compartment
            else "tasks of a DAG without a compartment"
        )
        why = (
            f"which is that of {owners[0]}: {tasks} do not run with its identity"
            if owners
            else f"which the access policy does not open to {tasks}"
        )
        raise PlacementRefused(
            f"it asks for {word} {value!r:.80}, {why}",
            where=self._where(task),
            remedy=f"remove {word} from the DAG, or give its own compartment a tasks_run_on"
            + ("" if owners else f"; a {word} without an identity can be added to the policy's open_places"),
        )

    def _is_own(self, owner: Owner) -> bool:
        return (owner.kind, owner.name) in self._own.owners

    def _where(self, task: str) -> str:
        return f"DAG {self.dag_id}, {task}"


def placement(
    policy: AccessPolicy,
    dag_id: str,
    origin: Origin | None = None,
    *,
    unknown_passes: bool = False,
    executors: Executors = _NAMES_UNKNOWN,
) -> Placement:
    """Return the placement of a DAG's tasks.

    :param origin: the bundle and the team that the DAG came from.
    :param unknown_passes: True if another component, which knows the DAG's origin, checks it as well.
    :param executors: the executors of this Airflow, whose names are compared.
    :raises OriginRefused: the DAG does not come from an origin that its compartment allows.
    """
    compartment, runner = policy.resolve_dag(dag_id), policy.runner(dag_id)
    origin = origin or Origin()
    for wrong in _mismatches(compartment, runner, dag_id, origin, unknown_passes=unknown_passes):
        if wrong is not None:
            raise wrong.refusal
    if runner is not None and runner.runs_on is not None:
        # If a field has several places, the first one.
        places = dict(reversed(runner.runs_on.places))
        rule, refuse = f"runs_on of identity {runner.name!r}", True
    else:
        on = None if compartment is None else compartment.tasks_run_on
        places = {} if on is None else dict(on.places)
        rule = f"tasks_run_on of compartment {None if compartment is None else compartment.name!r}"
        refuse = False if on is None else on.refuse_elsewhere
    table = places_of(policy, executors)
    own_places = table.own(compartment, runner)
    return Placement(dag_id, compartment, places, refuse, rule, origin.team, own_places, table)


def _mismatches(
    compartment: Compartment | None, runner: Identity | None, dag_id: str, origin: Origin, *, unknown_passes: bool
) -> Iterator[Mismatch | None]:
    where = f"DAG {dag_id}"
    if compartment is not None:
        yield mismatch(compartment, dag_id, origin, where=where, unknown_passes=unknown_passes)
    if runner is not None and runner.runs_on is not None:
        name = f"runs_on of identity {runner.name!r}"
        yield mismatch_of(runner.runs_on, name, dag_id, origin, where=where, unknown_passes=unknown_passes)

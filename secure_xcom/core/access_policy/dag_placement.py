"""Where the tasks of a DAG run, as the access policy says: decided on names alone, without Airflow.

What carries an identity (a queue's workers, an executor, a service account, an operating-system user) is closed
once the policy gives anybody such a place: a DAG gets its own compartment's places, those that are open to all,
and what Airflow takes for a task that names none, as long as that is nobody else's. A pool carries no identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.dag_origin import Mismatch, Origin, mismatch, mismatch_of
from secure_xcom.core.access_policy.executors import Executor, Executors
from secure_xcom.core.access_policy.field_types import PLAIN_NAME
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.places import CARRY_IDENTITY, Own, Owner, Places, places_of
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import PlacementRefused

_WORDS = {"service_account": "service account"}
_NAMES_UNKNOWN = Executors()


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one DAG's tasks run.

    :ivar places: field (``queue``, ``pool``, ``executor``, ``service_account``, ``run_as_user``) -> the place.
    :ivar refuse_elsewhere: whether a task may not name another place than these.
    :ivar rule: what of the access policy says so, for errors.
    :ivar team: the DAG's team, which Airflow looks for executors by.
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
        """Whether what is not open is closed: the access policy gives somebody a place."""
        return self._all.closed

    def check(self, asked: Mapping[str, object], task: str) -> None:
        """Compare what a task asks for with where it may run.

        :param asked: field -> what the DAG's author wrote; what is left to Airflow is not in it.
        :param task: how the task is called in an error.
        :raises PlacementRefused: it asks for another place, or for one that is not open to it.
        """
        for field, value in asked.items():
            self._check(field, value, task)

    def check_defaults(self, defaults: Mapping[str, str | Executor], task: str) -> None:
        """Check what Airflow takes where a task names no place and the policy gives it none.

        :param defaults: field -> what Airflow takes.
        :raises PlacementRefused: that is the place of somebody else.
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
        """Whether the access policy itself gives a place to this DAG, or to every DAG."""
        own = [place for name, place in (*self.places.items(), *self._own.places) if name == field]
        return self._all.is_open(field, value, self.team) or any(
            self._all.same(field, value, place, self.team) for place in own
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
                    remedy=f"leave {word} out of the DAG, or have the access policy changed",
                )
            return
        if field not in CARRY_IDENTITY or not self.closed:
            return
        if text is None or not PLAIN_NAME.fullmatch(text):
            raise PlacementRefused(
                f"it asks for {word} {value!r:.80}, which is no name of letters, digits, '_', '.' and '-' alone: "
                "brokers and Kubernetes read other characters in ways of their own",
                where=self._where(task),
                remedy=f"leave {word} out of the DAG, or name one of its own compartment's places",
            )
        if self.may_use(field, text):
            return
        owners = self._all.owners(field, text, self.team)
        tasks = (
            f"tasks of compartment {self.compartment.name!r}"
            if self.compartment
            else "tasks of a DAG of no compartment"
        )
        why = (
            f"which is that of {owners[0]}: {tasks} do not run with its identity"
            if owners
            else f"which the access policy does not open to {tasks}"
        )
        raise PlacementRefused(
            f"it asks for {word} {value!r:.80}, {why}",
            where=self._where(task),
            remedy=f"leave {word} out of the DAG, or give its own compartment a tasks_run_on"
            + ("" if owners else f"; a {word} without an identity may stand in open_places of the access policy"),
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
    """Where a DAG's tasks run.

    :param origin: the bundle and the team that the DAG came from.
    :param unknown_passes: True where somebody else, who knows the DAG's origin, checks it as well.
    :param executors: those of this Airflow, by whose names executors are compared.
    :raises OriginRefused: the DAG is not from where its compartment takes DAGs.
    """
    compartment, runner = policy.resolve_dag(dag_id), policy.runner(dag_id)
    origin = origin or Origin()
    for wrong in _mismatches(compartment, runner, dag_id, origin, unknown_passes=unknown_passes):
        if wrong is not None:
            raise wrong.refusal
    if runner is not None and runner.runs_on is not None:
        # Of several places of a field the first.
        places = dict(reversed(runner.runs_on.places))
        rule, refuse = f"runs_on of identity {runner.name!r}", True
    else:
        on = None if compartment is None else compartment.tasks_run_on
        places = {} if on is None else dict(on.places)
        rule = f"tasks_run_on of compartment {None if compartment is None else compartment.name!r}"
        refuse = False if on is None else on.refuse_elsewhere
    table = places_of(policy, executors)
    own = table.own(compartment, runner)
    return Placement(dag_id, compartment, places, refuse, rule, origin.team, own, table)


def _mismatches(
    compartment: Compartment | None, runner: Identity | None, dag_id: str, origin: Origin, *, unknown_passes: bool
) -> Iterator[Mismatch | None]:
    where = f"DAG {dag_id}"
    if compartment is not None:
        yield mismatch(compartment, dag_id, origin, where=where, unknown_passes=unknown_passes)
    if runner is not None and runner.runs_on is not None:
        name = f"runs_on of identity {runner.name!r}"
        yield mismatch_of(runner.runs_on, name, dag_id, origin, where=where, unknown_passes=unknown_passes)

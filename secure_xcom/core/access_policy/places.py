"""The owners of places: the access policy gives places that carry an identity to compartments and identities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.executors import Executor, Executors
from secure_xcom.core.access_policy.policy import AccessPolicy

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.identities import Identity

CARRY_IDENTITY = ("queue", "executor", "service_account", "run_as_user")
"""A pool carries no identity: it counts slots."""

# Brokers merge names that Airflow distinguishes: kombu writes `.` as `-` for SQS, and `.` and `_` as `-` for
# Azure's storage queues (kombu/transport, entity_name). Names of Azure and MySQL are case-insensitive.
_ONE_FOR_BROKERS = str.maketrans("._", "--")


@dataclass(frozen=True, slots=True)
class Owner:
    """A compartment or an identity that owns a place.

    :ivar kind: ``compartment`` or ``identity``; :ivar index: its number in the file.
    :ivar fields: the identity-carrying fields of the entry that gives it the place.
    """

    kind: str
    name: str
    index: int
    fields: frozenset[str]

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


@dataclass(frozen=True, slots=True)
class Own:
    """The owners and places that a DAG belongs to.

    :ivar owners: kind and name of the owners whose places the DAG may use.
    :ivar places: fields and values of those places that identities own.
    """

    owners: frozenset[tuple[str, str]] = frozenset()
    places: frozenset[tuple[str, str]] = frozenset()


class Places:
    """The owners of all places, and the open places.

    :ivar closed: True if the policy gives anybody a place: then every place that is not open is closed.
    """

    def __init__(self, policy: AccessPolicy, executors: Executors) -> None:
        self._executors = executors
        self._owners: dict[tuple[str, str], tuple[Owner, ...]] = {}
        for owner, field, value, teams in every_place(policy):
            for key in self._keys(field, value, teams):
                self._owners[key] = (*self._owners.get(key, ()), owner)
        self._open = {key for field, value in policy.open_places.places for key in self._exact(field, value, None)}
        self.closed = bool(self._owners)
        self._of_workers: dict[str, list[Identity]] = {}
        for identity in policy.identities:
            for name in identity.workers_of:
                self._of_workers.setdefault(name, []).append(identity)

    def own(self, compartment: Compartment | None, runner: Identity | None) -> Own:
        """Return a DAG's own places: of its compartment, or of the identity whose `runs_on` names it."""
        identities = [runner] if runner is not None else []
        owners = set()
        if runner is None and compartment is not None:
            owners = {("compartment", compartment.name)}
            identities = self._of_workers.get(compartment.name, [])
        owners |= {("identity", identity.name) for identity in identities}
        return Own(
            frozenset(owners),
            frozenset(place for identity in identities if identity.runs_on for place in identity.runs_on.places),
        )

    def same(self, field: str, value: str | Executor, place: str, team: str | None) -> bool:
        """Check whether a task's place is a given place of the access policy."""
        if field == "executor":
            return value == place or self._resolved(value, team) in self._executors.meant(place)
        return value == place

    def is_open(self, field: str, value: str | Executor, team: str | None) -> bool:
        """Check whether every DAG may name a place."""
        return (field, self._resolved(value, team) if field == "executor" else value) in self._open

    def owners(self, field: str, value: str | Executor, team: str | None) -> tuple[Owner, ...]:
        """Return the owners of a place. An executor has none if its entry names the field that splits it."""
        if field != "executor":
            return self._owners.get((field, spelled(field, str(value))), ())
        text = self._resolved(value, team)
        kind = self._executors.kind(text)
        splits_by = None if kind is None else kind.splits_by
        return tuple(owner for owner in self._owners.get((field, text), ()) if splits_by not in owner.fields)

    def _resolved(self, value: str | Executor, team: str | None) -> str:
        executor = value if isinstance(value, Executor) else self._executors.find(value, team)
        return self._executors.unknown(str(value)) if executor is None else self._executors.of(executor)

    def _keys(self, field: str, value: str, teams: tuple[str, ...] | None) -> set[tuple[str, str]]:
        return self._exact(field, spelled(field, value), teams)

    def _exact(self, field: str, value: str, teams: tuple[str, ...] | None) -> set[tuple[str, str]]:
        texts = self._executors.meant(value, teams) if field == "executor" else {value}
        return {(field, text) for text in texts}


@lru_cache(maxsize=4)
def places_of(policy: AccessPolicy, executors: Executors) -> Places:
    """Return the places of a policy. Cached, because a scheduler needs them for each task instance."""
    return Places(policy, executors)


def spelled(field: str, value: str) -> str:
    """Return one spelling for all names that some broker treats as the same queue."""
    return value.translate(_ONE_FOR_BROKERS).casefold() if field == "queue" else value


def every_place(policy: AccessPolicy) -> Iterator[tuple[Owner, str, str, tuple[str, ...] | None]]:
    """Yield each place that carries an identity: its owner, field and value, and the owner's teams."""
    for index, compartment in enumerate(policy.compartments):
        if compartment.tasks_run_on is not None:
            named = ("compartment", compartment.name, index)
            yield from _places(*named, compartment.tasks_run_on.places, compartment.teams)
    for index, identity in enumerate(policy.identities):
        if identity.runs_on is not None:
            yield from _places("identity", identity.name, index, identity.runs_on.places, identity.runs_on.teams)


def _places(
    kind: str, name: str, index: int, places: tuple[tuple[str, str], ...], teams: tuple[str, ...] | None
) -> Iterator[tuple[Owner, str, str, tuple[str, ...] | None]]:
    carried = [(field, value) for field, value in places if field in CARRY_IDENTITY]
    owner = Owner(kind, name, index, frozenset(field for field, _ in carried))
    for field, value in carried:
        yield owner, field, value, teams

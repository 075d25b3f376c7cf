"""The origin that a compartment requires of its DAGs: Airflow's bundles and teams.

A DAG's id says which compartment it belongs to; its bundle and team must match the compartment's as well. They do
not choose among compartments, because a pull knows the DAG that pushed but not the bundle that it came from.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.coordinate import TaskTry
from secure_xcom.core.policy_errors import OriginRefused, PolicyInvalid

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.identities import Identity


@dataclass(frozen=True, slots=True)
class Origin:
    """The bundle and team that Airflow loaded a DAG from. None means that Airflow does not tell it here."""

    bundle: str | None = None
    team: str | None = None

    @classmethod
    def of(cls, task: TaskTry | None, dag_id: str) -> Origin:
        """Return the origin of a DAG as a task's process knows it: that of the task's own DAG only."""
        if task is None or task.dag_id != dag_id:
            return cls()
        return cls(task.bundle, task.team)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A DAG whose origin its compartment does not allow.

    :ivar field: ``bundle`` or ``team``.
    """

    field: str
    refusal: OriginRefused


class Source(Protocol):
    """What requires an origin of DAGs: a compartment, or the places of an identity."""

    @property
    def bundles(self) -> tuple[str, ...] | None:
        """The bundles that DAGs must come from; None for any."""

    @property
    def teams(self) -> tuple[str, ...] | None:
        """The teams that those bundles must belong to; None for any."""


def mismatch(
    compartment: Compartment, dag_id: str, origin: Origin, *, where: str, unknown_passes: bool = False
) -> Mismatch | None:
    """Compare a DAG's origin with the one that its compartment requires.

    :param unknown_passes: True if another component, which knows the origin, checks it as well.
    """
    return mismatch_of(
        compartment,
        f"compartment {compartment.name!r}",
        dag_id,
        origin,
        where=where,
        unknown_passes=unknown_passes,
    )


def mismatch_of(
    source: Source, name: str, dag_id: str, origin: Origin, *, where: str, unknown_passes: bool = False
) -> Mismatch | None:
    """Compare a DAG's origin with the one that a compartment or an identity requires.

    Airflow 3.4 writes every team's name in lower case (migration 0131), so an older policy that names a team
    `Finance` means its `finance`. Two teams whose names differ in case alone are no boundary in Airflow: they
    share the connections of its environment secrets backend (TEAM_NAME_PATTERN in airflow/models/team.py).

    :param name: the compartment or the identity, for errors.
    :param unknown_passes: True if another component, which knows the origin, checks it as well.
    """
    required = (("bundle", source.bundles, origin.bundle), ("team", source.teams, origin.team))
    for field, allowed, actual in required:
        if allowed is None or actual in allowed or (actual is None and unknown_passes):
            continue
        if field == "team" and actual is not None and actual in map(str.lower, allowed):
            continue
        takes = f"{name} takes the DAG {dag_id!r:.80} from {field} {_any_of(allowed)} only"
        if actual is not None:
            return Mismatch(field, OriginRefused(f"{takes}, and it comes from {actual!r:.80}", where=where))
        remedy = (
            f"use XComs of this DAG inside its own tasks, while they run; if this already happens there, Airflow "
            f"has no {field} for the DAG: see [dag_processor] dag_bundle_config_list"
            + (" and [core] multi_team" if field == "team" else "")
        )
        what = f"{takes}, and Airflow does not report its {field} here"
        return Mismatch(field, OriginRefused(what, where=where, remedy=remedy))
    return None


def check_told(
    compartments: Iterable[Compartment],
    told: AbstractSet[str],
    *,
    where: str,
    identities: Iterable[Identity] = (),
) -> None:
    """Refuse a policy that requires what this Airflow does not tell.

    :param told: what this Airflow tells: ``bundles`` and ``teams`` (of a running task), ``placed bundles`` (of a
        task that is about to be scheduled).
    :param where: the file's name.
    :param identities: may require an origin in `runs_on` as well.
    :raises PolicyInvalid: names the first compartment or identity, and the field.
    """
    sources: list[tuple[str, Source, str | None]] = [
        (
            f"compartment {compartment.name!r}",
            compartment,
            None if compartment.tasks_run_on is None else "tasks_run_on",
        )
        for compartment in compartments
    ]
    sources += [
        (f"identity {identity.name!r}", identity.runs_on, "runs_on")
        for identity in identities
        if identity.runs_on is not None
    ]
    for subject, source, places in sources:
        for field, name in (("bundles", "bundles"), ("teams", "teams"), ("bundles", "placed bundles")):
            if getattr(source, field) is None or name in told:
                continue
            if name == "placed bundles" and places is None:
                continue
            beside = f" beside {places}" if name == "placed bundles" else ""
            raise PolicyInvalid(
                f"{subject} has {field}{beside}, and this Airflow does not report them",
                where=where,
                remedy=(
                    "upgrade Airflow to 3.3 or later"
                    + (" and set [core] multi_team = True" if field == "teams" else "")
                    + f", or leave {field} out of the access policy"
                ),
            )


def _any_of(names: tuple[str, ...]) -> str:
    shown = " or ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} or {len(names) - 5} more"

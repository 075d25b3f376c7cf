"""What is decided about a value or a row before any key or store is asked. Decisions on bytes only, no IO."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from secure_xcom.claims import Claimant, Target
from secure_xcom.claims.claiming import Wanted, want
from secure_xcom.core.access_policy import AccessPolicy, Compartment
from secure_xcom.core.coordinate import Asked, TaskTry
from secure_xcom.core.errors import ClaimRefused, CoordinateMismatch
from secure_xcom.core.pipeline.open_payload import describe, openable, place_within
from secure_xcom.core.reference import Reference, parse
from secure_xcom.keys.data_keys import Candidates
from secure_xcom.sinks import Draft

__all__ = [
    "Admitted",
    "Row",
    "admit",
    "check_order",
    "describe",
    "place_within",
    "recognise",
]


@dataclass(frozen=True, slots=True)
class Row:
    """One value as Airflow's database gave it, and what the caller had asked for."""

    value: object = field(repr=False)
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A reference that may be opened.

    :ivar place: the store's URI and the object's path below it; None for an inline payload.
    :ivar candidates: the wraps that may be asked for.
    :ivar wanted: the claim that it needs, for an exclusive XCom.
    """

    reference: Reference
    compartment: Compartment
    place: tuple[str, str] | None
    candidates: Candidates
    wanted: Wanted | None = None


def admit(
    row: Row,
    policy: AccessPolicy,
    consumer: TaskTry | None,
    *,
    claimant: Claimant | None = None,
    ledger: str = "store",
    max_bytes: int,
    draft: Draft,
) -> Admitted:
    """Parse, hold against what was asked for, decide.

    :param claimant: the task instance that pulls, where it is known for certain.
    :param ledger: where this deployment keeps claims.
    :param max_bytes: the largest payload that may be fetched.
    :param draft: filled in as far as this comes.
    :raises ReferenceRefused: malformed, of another version, moved, copied, expired, shredded.
    :raises ClaimRefused: it is exclusive, and nobody can say which task instance would claim it.
    :raises AccessError: the access policy refuses it, or it names a key or an object outside its compartment.
    :raises ValueTooLarge: the payload is over the limit.
    """
    found = recognise(row, draft)
    head = found.head
    where = draft.where
    verdict = policy.decide(head.coordinate, head.compartment, consumer)
    draft.compartment, draft.rule = verdict.decided_in.name, verdict.rule
    compartment = verdict.enforce()
    opens = openable(found, compartment, max_bytes=max_bytes, where=where)
    wanted = None
    if head.exclusive is not None and opens.place is not None:
        wanted = _wanted(row, found, compartment, opens.place[0], claimant, ledger)
    return Admitted(found, compartment, opens.place, opens.candidates, wanted)


def _wanted(
    row: Row, found: Reference, compartment: Compartment, store_uri: str, claimant: Claimant | None, ledger: str
) -> Wanted:
    head = found.head
    where = str(head.coordinate)
    if claimant is None:
        raise ClaimRefused(
            "an exclusive XCom is for one task instance, and nothing here says which one this is",
            where=where,
            remedy="pull it inside the task that it is for, not in a trigger, a callback or the API server",
        )
    if row.asked is None or row.asked.run_id is None:
        raise ClaimRefused(
            "an exclusive XCom is pulled of one run, and this pull takes that of any",
            where=where,
            remedy="pull it without include_prior_dates",
        )
    if head.exclusive != ledger:
        raise ClaimRefused(
            f"its claims are kept in the {head.exclusive}, and this machine keeps claims in the {ledger}",
            where=where,
            remedy="set [secure_xcom] claims_uri alike on all machines; clear the producing task if it changed",
        )
    target = Target(compartment.name, head.coordinate, store_uri, head.object or "")
    return want(target, claimant, rerun=compartment.exclusive_rerun)


def recognise(row: Row, draft: Draft) -> Reference:
    """Parse a row and hold it against what was asked for.

    :raises ReferenceRefused: it is malformed, or belongs to another row.
    """
    found = parse(row.value)
    describe(found, draft)
    if row.asked is not None:
        row.asked.check(found.head.coordinate)
    return found


def check_order(drafts: Iterable[Draft], order: int) -> None:
    """Hold the rows of one task against the order of their map indexes, which is all that Airflow says of them.

    :param order: 1 for rising, -1 for falling, 0 where none is known.
    :raises CoordinateMismatch: a reference was moved or copied among the instances of a mapped task.
    """
    last: int | None = None
    for draft in drafts:
        if not order or draft.coordinate is None:
            continue
        index = draft.coordinate.map_index
        if last is not None and (index - last) * order <= 0:
            raise CoordinateMismatch(
                f"map_index {index} comes after {last}: a reference was moved or copied among the instances of "
                "a mapped task",
                where=draft.where,
            )
        last = index

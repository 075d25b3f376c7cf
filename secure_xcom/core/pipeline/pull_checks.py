"""The decide stage of a pull: check a row before any key or store is asked. Decisions on bytes only, no IO."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secure_xcom.claims import Claimant, Target
from secure_xcom.core.access_policy import Compartment
from secure_xcom.core.coordinate import Asked
from secure_xcom.core.errors import ClaimRefused
from secure_xcom.core.pipeline.open_payload import openable
from secure_xcom.core.reference import Reference
from secure_xcom.keys.data_keys import Candidates

if TYPE_CHECKING:
    from secure_xcom.claims.claiming import Wanted

__all__ = ["Admitted", "Row", "admit", "first_out_of_order"]


@dataclass(frozen=True, slots=True)
class Row:
    """One value as Airflow's database gave it, and what the caller had asked for."""

    value: object = field(repr=False)
    asked: Asked | None = None

    def check(self, reference: Reference) -> None:
        """Check that the reference in the row is the one that was asked for.

        :raises CoordinateMismatch: it belongs to another row.
        """
        if self.asked is not None:
            self.asked.check(reference.head.coordinate)


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
    reference: Reference,
    compartment: Compartment,
    *,
    claimant: Claimant | None,
    ledger: str,
    max_bytes: int,
    where: str,
) -> Admitted:
    """Check the reference of a row that the access policy lets its consumer read.

    :param claimant: the task instance that pulls, where it is known for certain.
    :param ledger: where this deployment keeps claims.
    :param max_bytes: the largest payload that may be fetched.
    :raises ReferenceRefused: it carries an unknown restriction, is expired or shredded.
    :raises ClaimRefused: it is exclusive, and nobody can say which task instance would claim it.
    :raises ContextRefused: it names a key or an object outside its compartment.
    :raises ValueTooLarge: the payload is over the limit.
    """
    checked = openable(reference, compartment, max_bytes=max_bytes, where=where)
    wanted = None
    if reference.head.exclusive is not None and checked.place is not None:
        wanted = _wanted(row, reference, compartment, checked.place[0], claimant, ledger)
    return Admitted(reference, compartment, checked.place, checked.candidates, wanted)


def _wanted(
    row: Row,
    reference: Reference,
    compartment: Compartment,
    store_uri: str,
    claimant: Claimant | None,
    ledger: str,
) -> Wanted:
    from secure_xcom.claims.claiming import want

    head = reference.head
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


def first_out_of_order(map_indexes: Iterable[int | None], order: int) -> tuple[int, str] | None:
    """Return where the rows of one task leave the order of their map indexes, and how; None where they keep it.

    The order is all that Airflow says of them: a reference that was moved or copied among the instances of a
    mapped task is out of order.

    :param map_indexes: those of the references, in order; None for a row without one.
    :param order: 1 for rising, -1 for falling, 0 where none is known.
    """
    last: int | None = None
    for position, index in enumerate(map_indexes if order else ()):
        if index is None:
            continue
        if last is not None and (index - last) * order <= 0:
            return position, (
                f"map_index {index} comes after {last}: a reference was moved or copied among the instances of "
                "a mapped task"
            )
        last = index
    return None

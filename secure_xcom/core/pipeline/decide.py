"""The decide stage of a pull: check rows before any key or store is asked. Decisions on bytes only, no IO."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Asked, TaskTry
from secure_xcom.core.errors import PlaintextRefused
from secure_xcom.core.pipeline.open_payload import key_uses, openable
from secure_xcom.core.reference import Reference, is_reference, parse
from secure_xcom.keys.data_keys import Candidates
from secure_xcom.sinks.recording import Record

if TYPE_CHECKING:
    from secure_xcom.claims.claimant import Claimant
    from secure_xcom.claims.claiming import Wanted
    from secure_xcom.core.access_policy.interface import Decisions, Rules

__all__ = ["Admitted", "Row", "admit", "decide", "exclusive_of"]

log = logging.getLogger(__name__)


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
    compartment: Rules
    place: tuple[str, str] | None
    candidates: Candidates
    wanted: Wanted | None = None


def decide(
    rows: Sequence[Row],
    policy: Decisions,
    settings: Settings,
    consumer: TaskTry | None,
    claimant: Claimant | None,
    ledger: str,
    record: Record,
) -> list[Admitted | None]:
    """Return what may be opened, None for each plain value that the settings let pass.

    :param consumer: the task instance that pulls, where Airflow says which it is.
    :param claimant: the same, where it is certain to its map index.
    :param ledger: where this deployment keeps claims.
    :raises SecureXComError: a row is refused.
    """
    admitted: list[Admitted | None] = []
    for index, row in enumerate(rows):
        with record.at(index) as draft:
            if not is_reference(row.value):
                draft.plaintext = True
                _check_plain(row, settings.on_plaintext)
                admitted.append(None)
                continue
            reference = parse(row.value)
            draft.refers(reference, key_uses(reference))
            row.check(reference)
            coordinate = reference.head.coordinate
            verdict = policy.decide(coordinate, reference.head.compartment, consumer)
            draft.decided(verdict)
            admitted.append(
                admit(
                    row,
                    reference,
                    verdict.enforce(),
                    claimant=claimant,
                    ledger=ledger,
                    max_bytes=settings.max_bytes,
                    where=str(coordinate),
                )
            )
    return admitted


def _check_plain(row: Row, on_plaintext: str) -> None:
    """Refuse, or warn of, a value without a reference.

    :raises PlaintextRefused: it is refused.
    """
    where = str(row.asked or "a row that was not asked for by its coordinate")
    if on_plaintext == "refuse":
        raise PlaintextRefused("the row holds a value without a reference", where=where)
    if on_plaintext == "warn":
        log.warning("A value without a reference was pulled; it is in the database in plaintext: %s", where)


def admit(
    row: Row,
    reference: Reference,
    compartment: Rules,
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
    if reference.head.exclusive is None or checked.place is None:
        return Admitted(reference, compartment, checked.place, checked.candidates)
    from secure_xcom.core.pipeline.claim import wanted

    claim = wanted(reference, compartment, checked.place[0], row.asked, claimant, ledger)
    return Admitted(reference, compartment, checked.place, checked.candidates, claim)


def exclusive_of(admitted: Iterable[Admitted | None]) -> list[Wanted]:
    """Return the exclusive XComs among those that may be opened."""
    return [entry.wanted for entry in admitted if entry is not None and entry.wanted is not None]

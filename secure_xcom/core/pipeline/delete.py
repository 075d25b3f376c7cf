"""Delete payloads: of rows that Airflow deletes, and of exclusive XComs once their claimant has succeeded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from secure_xcom.core.coordinate import Coordinate, TaskTry
from secure_xcom.core.errors import AuditError, SecureXComError
from secure_xcom.core.event import Action
from secure_xcom.core.pipeline.decide import Row
from secure_xcom.core.pipeline.open_payload import key_uses, place_within
from secure_xcom.core.policy_errors import AccessRefused
from secure_xcom.core.reference import is_reference, parse
from secure_xcom.sinks.recording import Draft, Record
from secure_xcom.stores import Store

if TYPE_CHECKING:
    from secure_xcom.claims.claimant import Claimant, Target
    from secure_xcom.claims.claiming import Wanted
    from secure_xcom.claims.shred import Rows, Shredded
    from secure_xcom.core.access_policy.interface import Decisions, Rules

log = logging.getLogger(__name__)


def purge(
    row: Row,
    policy: Decisions,
    open_store: Callable[[str], Store],
    recorder: Callable[[Action, Sequence[Draft]], AbstractContextManager[Record]],
    producer: TaskTry | None,
) -> SecureXComError | None:
    """Delete the payload of a row that Airflow is about to delete; return why it stays, where it does.

    Only an object below the coordinate's own path is ever deleted, so a reference that was copied from elsewhere
    cannot be used to delete what it names; only for a task of its compartment; and none that is under a legal
    hold. What is not deleted stops nothing here: with the row goes the only wrapped data key, and gc removes the
    bytes.

    :raises AuditError: the access log cannot be written.
    """
    if not is_reference(row.value):
        return None
    try:
        with recorder("purge", [Draft(asked=row.asked)]) as record, record.at(0) as draft:
            reference = parse(row.value)
            draft.refers(reference, key_uses(reference))
            row.check(reference)
            coordinate = reference.head.coordinate
            verdict = policy.decide_write(coordinate, producer)
            draft.decided(verdict)
            compartment = _unheld(policy, coordinate, verdict.enforce())
            place = place_within(reference, compartment, str(coordinate))
            failure = open_store(place[0]).delete_many([place[1]])[0] if place else None
            if failure is not None:
                raise failure
    except AuditError:
        raise
    except SecureXComError as error:
        log.warning("The payload of a row that is being deleted stays behind until gc: %s", error)
        return error
    return None


def _unheld(policy: Decisions, coordinate: Coordinate, compartment: Rules) -> Rules:
    hold = policy.held(coordinate.dag_id, coordinate.run_id)
    if hold is not None:
        raise AccessRefused(
            f"it is under the legal hold {hold.name!r}",
            where=str(coordinate),
            remedy="lift the hold, and gc deletes it",
        )
    return compartment


def shred_claimed(
    claimed: Mapping[str, Wanted],
    claimant: Claimant,
    rows: Rows,
    policy: Decisions,
    open_store: Callable[[str], Store],
    recorder: Callable[[Action, Sequence[Draft]], AbstractContextManager[Record]],
) -> Iterator[tuple[str, Shredded | None]]:
    """Destroy what a task instance claimed (see `Pipeline.shred`), and yield each name that is done with.

    :param claimed: the payload's name -> what was claimed.
    :returns: each name, and what became of its XCom; None where a legal hold keeps it.
    """
    for name, wanted in claimed.items():
        # A process may run several tasks (`dag.test()`), and the others' right to pull is theirs.
        if wanted.claimant == claimant and wanted.target.coordinate.iteration in (None, claimant.iteration):
            yield name, _shred_unless_held(wanted.target, rows, policy, open_store, recorder)


def _shred_unless_held(
    target: Target,
    rows: Rows,
    policy: Decisions,
    open_store: Callable[[str], Store],
    recorder: Callable[[Action, Sequence[Draft]], AbstractContextManager[Record]],
) -> Shredded | None:
    """Destroy one exclusive XCom, and record it as purged; None where a legal hold keeps it.

    :raises SecureXComError: its row cannot be read or written.
    """
    from secure_xcom.claims.shred import shred

    coordinate = target.coordinate
    if policy.held(coordinate.dag_id, coordinate.run_id) is not None:
        return None
    with recorder("purge", [Draft(coordinate=coordinate, compartment=target.compartment, object=target.object)]):
        return shred(target, rows, open_store)

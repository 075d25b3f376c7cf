"""Shred what finished readers of exclusive XComs left: what their own identities may not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from secure_xcom.claims import Claim, Claimant, Ledger, Target
from secure_xcom.claims.claim_objects import ClaimObjects
from secure_xcom.claims.shred import shred_finished
from secure_xcom.core.access_policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import ClaimTampered, ReferenceMalformed
from secure_xcom.core.event import Event
from secure_xcom.core.reference import TAG
from secure_xcom.ops.jobs.eligible_rows import Found, others_payloads, read, recognise
from secure_xcom.ops.jobs.examples import name_one
from secure_xcom.ops.jobs.progress import Progress, silent
from secure_xcom.ops.xcom_table import Database, StoredRow
from secure_xcom.sinks import AccessLog
from secure_xcom.stores import Store, store


@dataclass
class ShredReport:
    """What a run found and did.

    :ivar due: exclusive XComs whose reader has succeeded.
    :ivar done: of these, shredded wholly, with their claim gone; :ivar left: not wholly, to be tried again.
    :ivar tampered: what lies among the claims and is none, which somebody has put there.
    :ivar outlived: claims on XComs of which neither row nor payload is left; removed where it deletes.
    """

    deleting: bool
    due: int = 0
    done: int = 0
    left: int = 0
    tampered: int = 0
    outlived: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def open(self) -> int:
        """What is still to be done."""
        return self.due - self.done + self.tampered + (0 if self.deleting else self.outlived)


class DatabaseRows:
    """Rows of the metadata database, changed only as they were read: `secure_xcom.claims.shred.Rows`."""

    def __init__(self, database: Database, policy: AccessPolicy) -> None:
        self._database = database
        self._policy = policy

    def read(self, coordinate: Coordinate) -> Any:
        """See `Rows.read`."""
        for row in self._rows(coordinate):
            try:
                return read(row, self._database)[1]
            except ReferenceMalformed:
                # Refused as a reference, and never compared: that may take more of the stack than there is.
                return {TAG: None}
        return None

    def replace(self, coordinate: Coordinate, old: object, new: object) -> bool:
        """See `Rows.replace`."""
        for row in self._rows(coordinate):
            whole, value = read(row, self._database)
            if value == old:
                return self._database.replace(whole, new)
        return False

    def first_of(self, target: Target) -> StoredRow | None:
        """The row that named a claimed payload before the claimed row did, if there is one."""
        return next(
            (
                others_payloads([found], self._database).get(row.position)
                for row in self._rows(target.coordinate)
                if isinstance(found := recognise(row, self._policy, self._database), Found)
            ),
            None,
        )

    def _rows(self, coordinate: Coordinate) -> list[Any]:
        at = (*coordinate.of_task, coordinate.map_index)
        return [row for row in self._database.of_tasks([at]) if row.position.key == coordinate.key]


def shred_all(
    policy: AccessPolicy,
    database: Database,
    access_log: AccessLog,
    *,
    delete: bool = False,
    operator: str,
    ledger: Ledger | None = None,
    stores: Callable[[str], Store] = store,
    progress: Progress = silent,
) -> ShredReport:
    """Find the claims whose task instances have succeeded, and shred their XComs. Running it again finishes.

    Needs no key, and of the stores the rights to list, to read claims and to delete.

    :param delete: without it nothing is changed.
    :param operator: who does it, for the access log, which has each XCom as purged before its keys are destroyed.
    :param ledger: where claims are kept; without one, in the payloads' own stores.
    :raises SecureXComError: the claims or the rows cannot be read; :raises AuditError: the access log cannot be
        written.
    """
    of = cache(stores)

    def succeeded(claimant: Claimant) -> bool:
        at = (claimant.dag_id, claimant.run_id, claimant.task_id, claimant.map_index)
        return database.task_state(*at) == "success"

    report = ShredReport(deleting=delete)

    def tampered(error: ClaimTampered) -> None:
        report.tampered += 1
        name_one(report.failures, str(error))

    def outlived(_: Claim) -> None:
        report.outlived += 1

    rows = DatabaseRows(database, policy)

    def before(target: Target) -> None:
        first = rows.first_of(target)
        if first is not None:
            what = f"the claim is on a row that names the payload of {first.where}"
            raise ClaimTampered(what, where=str(target.coordinate))
        event = Event(
            "purge",
            "ok",
            coordinate=target.coordinate,
            compartment=target.compartment,
            object=target.object,
            policy=policy.digest,
            operator=operator,
        )
        access_log.record([event])

    places = [(uri, own.name) for own in policy.compartments for uri in own.all_store_uris]
    for claim, done in shred_finished(
        ledger or ClaimObjects(of),
        places,
        succeeded=succeeded,
        held=policy.held,
        rows=rows,
        stores=of,
        dry_run=not delete,
        tampered=tampered,
        outlived=outlived,
        before=before,
    ):
        report.due += 1
        if done is not None and done.whole:
            report.done += 1
        elif done is not None:
            report.left += 1
            why = done.left or f"the row of {claim.coordinate} cannot be read, or was written meanwhile"
            name_one(report.failures, str(why))
        progress("shredding", report.due, None)
    return report

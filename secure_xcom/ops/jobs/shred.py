"""Shred exclusive XComs that were read: what the readers' own identities have no right to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from secure_xcom.claims.claim import Claim
from secure_xcom.claims.claim_listing import ListedClaimObjects
from secure_xcom.claims.claimant import Claimant, Target, claims_folder
from secure_xcom.claims.ledger import ListedLedger
from secure_xcom.core import clock
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.claim_errors import ClaimTampered
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import ContextRefused, ReferenceMalformed, SecureXComError
from secure_xcom.core.event import Event
from secure_xcom.core.pipeline.open_payload import place_within
from secure_xcom.core.reference import TAG, TIME_FORMAT
from secure_xcom.core.store_errors import StoreDenied
from secure_xcom.ops.jobs.eligible_rows import EligibleRow, others_payloads, read, recognize
from secure_xcom.ops.jobs.job import Report
from secure_xcom.ops.jobs.progress import Progress, silent
from secure_xcom.ops.jobs.report_text import add_example, example_lines
from secure_xcom.ops.jobs.shred_finished import shred_finished
from secure_xcom.ops.xcom_table import Database, StoredRow
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import Store, store


@dataclass
class ShredReport(Report):
    """What a run found and did.

    :ivar due: exclusive XComs whose reader has succeeded.
    :ivar done: of these, shredded completely; :ivar left: incomplete, the next run tries again.
    :ivar tampered: records among the claims that are forged.
    :ivar outlived: claims of which neither a key nor a payload is left, over a day old; removed where it deletes.
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
        """Return how many are left to do."""
        return self.due - self.done + self.tampered + (0 if self.deleting else self.outlived)

    @property
    def found(self) -> bool:
        """Return whether anything is left to do."""
        return bool(self.open)

    def lines(self) -> list[str]:
        """See `Report.lines`."""
        lines = [f"{self.due} exclusive XComs were read by a task that has succeeded"]
        if self.outlived:
            removed = "; removed" if self.deleting else ""
            lines.append(
                f"{self.outlived} claims are over a day old and on XComs that are gone or shredded{removed}"
            )
        if self.deleting:
            lines.append(f"shredded {self.done} completely and {self.left} incompletely")
        elif self.due or self.outlived:
            lines.append("nothing was changed: run it with --apply")
        return lines + example_lines(self.failures, self.left + self.tampered, title="could not be shredded:")


class DatabaseRows:
    """Rows of the metadata database, changed only as they were read: `secure_xcom.claims.shred.Rows`."""

    def __init__(self, database: Database, policy: AccessPolicy) -> None:
        self._database = database
        self._policy = policy

    def read(self, coordinate: Coordinate) -> list[Any]:
        """See `Rows.read`."""
        return [self._value(row)[1] for row in self._rows(coordinate)]

    def replace(self, coordinate: Coordinate, old: object, new: object) -> bool:
        """See `Rows.replace`."""
        same = [whole for whole, value in map(self._value, self._rows(coordinate)) if value == old]
        replaced = [self._database.replace(whole, new) for whole in same]
        return bool(replaced) and all(replaced)

    def _value(self, row: StoredRow) -> tuple[StoredRow, Any]:
        try:
            return read(row, self._database)
        except ReferenceMalformed:
            # A malformed reference is refused and never compared: comparing it could exhaust the stack.
            return row, {TAG: None}

    def first_of(self, target: Target) -> StoredRow | None:
        """Return the row that named a claimed payload before the claimed row did, if there is one."""
        return next(
            (
                others_payloads([recognized], self._database).get(row.position)
                for row in self._rows(target.coordinate)
                if isinstance(recognized := recognize(row, self._policy, self._database), EligibleRow)
                and recognized.reference.head.object == target.object
            ),
            None,
        )

    def copies(self) -> Iterator[EligibleRow]:
        """Yield each exclusive reference of an earlier release whose XCom is gone from the row that hides it.

        A task of Airflow 3.4 that shreds what it was given, or pushes it again, writes there, and the hidden row,
        which Airflow never shows again, keeps its data key.
        """
        for hidden, shown in self._database.hidden_rows():
            copy, visible = (recognize(row, self._policy, self._database) for row in (hidden, shown))
            if not isinstance(copy, EligibleRow) or copy.reference.shredded is not None:
                continue
            # Nobody knows which payload a refused reference means.
            if copy.reference.head.exclusive is None or isinstance(visible, SecureXComError):
                continue
            same = visible is not None and visible.reference.head.object == copy.reference.head.object
            if not same or (visible is not None and visible.reference.shredded is not None):
                yield copy

    def _rows(self, coordinate: Coordinate) -> list[StoredRow]:
        task_instance = (*coordinate.of_task, coordinate.map_index)
        return list(self._database.of_tasks([task_instance], key=coordinate.key))


def _may_list(opened: Store, folder: str) -> bool:
    try:
        next(iter(opened.list(folder)), None)
    except StoreDenied:
        return False
    return True


def shred_all(
    policy: AccessPolicy,
    database: Database,
    access_log: AccessLog,
    *,
    delete: bool = False,
    operator: str,
    ledger: ListedLedger | None = None,
    stores: Callable[[str], Store] = store,
    progress: Progress = silent,
) -> ShredReport:
    """Find claims whose task instances have succeeded, and shred their XComs. A later run finishes what is left.

    Needs no key, and at the stores the rights to list, to read claims and to delete.

    :param delete: without it nothing is changed.
    :param operator: who runs it, for the access log, which records each XCom as purged before its keys are
        destroyed.
    :param ledger: where claims are kept; None for the payloads' own stores.
    :raises SecureXComError: claims or rows cannot be read; :raises AuditError: the access log cannot be written.
    """
    opened = cache(stores)

    def succeeded(claimant: Claimant) -> bool:
        task_instance = (claimant.dag_id, claimant.run_id, claimant.task_id, claimant.map_index)
        states = database.task_states(*task_instance, iteration=claimant.iteration)
        return bool(states) and set(states) == {"success"}

    report = ShredReport(deleting=delete)

    def tampered(error: ClaimTampered) -> None:
        report.tampered += 1
        add_example(report.failures, str(error))

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

    # Where nothing is exclusive, the compiled policies give no right to list claims, and none was made.
    places = [
        (uri, compartment.name)
        for compartment in policy.compartments
        for uri in compartment.all_store_uris
        if ledger or compartment.exclusive or _may_list(opened(uri), claims_folder(compartment.name))
    ]
    for claim, done in shred_finished(
        ledger or ListedClaimObjects(opened),
        places,
        succeeded=succeeded,
        held=policy.held,
        rows=rows,
        stores=opened,
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
            reason = done.left or f"the row of {claim.coordinate} cannot be read, or was overwritten meanwhile"
            add_example(report.failures, str(reason))
        progress("shredding", report.due, None)
    for copy in rows.copies():
        if policy.held(copy.row.dag_id, copy.row.run_id) is not None:
            continue
        report.due += 1
        if not delete:
            continue
        reference = copy.reference
        target = Target(copy.compartment.name, reference.head.coordinate, "", str(reference.head.object))
        try:
            before(target)
            place = place_within(reference, copy.compartment, copy.row.where)
        except (ClaimTampered, ContextRefused) as error:
            report.due -= 1
            report.tampered += 1
            add_example(report.failures, str(error))
            continue
        if not database.replace(copy.row, reference.without_keys(clock.now().strftime(TIME_FORMAT)).dump()):
            report.left += 1
            add_example(report.failures, f"the row of {copy.row.where} was overwritten meanwhile")
            continue
        report.done += 1
        failure = opened(place[0]).delete_many([place[1]])[0] if place else None
        if failure is not None:
            add_example(report.failures, str(failure))
    return report

"""``secure-xcom expire``: payloads and rows whose time is over.

The time is the head's ``expires``; for a reference that was made when its compartment had no retention, its
creation and the retention of today. A pull of an expired XCom is refused already; here the bytes go. The payload
goes first and the row after it, so that a job that was killed between the two finds its row again. What is under a
legal hold stays. A grace of an hour keeps a clock that is fast from deleting early.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

from secure_xcom.access import AccessPolicy
from secure_xcom.admission import place_within
from secure_xcom.audit import AccessLog, Event, Outcome
from secure_xcom.errors import SecureXComError
from secure_xcom.maintenance.database import Database, StoredRow
from secure_xcom.maintenance.examples import name_one
from secure_xcom.maintenance.inventory import locked
from secure_xcom.maintenance.pace import Pace
from secure_xcom.maintenance.progress import Progress, silent
from secure_xcom.maintenance.references import Found, recognise
from secure_xcom.stores import Store, store

GRACE = timedelta(hours=1)


@dataclass
class ExpireReport:
    """What was found and done.

    :ivar held: expired, and under a legal hold; :ivar changed: written anew by a task meanwhile;
        :ivar unreadable: references that cannot be read, are in another row, or of an unknown compartment.
    """

    deleting: bool
    rows: int = 0
    references: int = 0
    expired: int = 0
    expired_bytes: int = 0
    held: int = 0
    deleted: int = 0
    changed: int = 0
    failed: int = 0
    unreadable: int = 0
    examples: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Whether anything is left to be done."""
        return bool(self.failed or self.expired > self.deleted + self.changed)


def due(found: Found) -> datetime | None:
    """When an XCom's time is over; None for one that is good for ever."""
    head = found.reference.head
    return head.due(found.compartment.lasts(head.key))


def expire(
    policy: AccessPolicy,
    database: Database,
    access_log: AccessLog,
    state: Path,
    *,
    delete: bool,
    operator: str,
    grace: timedelta = GRACE,
    rate: float = 0,
    stores: Callable[[str], Store] = store,
    progress: Progress = silent,
) -> ExpireReport:
    """Find what is expired, and delete payloads and rows if told to. Running it again finishes what was left.

    :param state: a file that is locked, so that one runs at a time.
    :param operator: who does it, for the access log.
    :param grace: how much longer than its time an XCom is left.
    :raises MaintenanceError: the database cannot be used; :raises AuditError: the access log cannot.
    """
    run = _Run(policy, database, access_log, operator, stores, datetime.now(timezone.utc) - grace, rate)
    report = ExpireReport(delete)
    with locked(state):
        total = database.count()
        for page in database.pages():
            expired = [found for row in page if (found := run.look(row, report)) is not None]
            if delete and expired:
                run.delete(expired, report)
            progress("reading rows", report.rows, max(total, report.rows))
    return report


@dataclass
class _Run:
    policy: AccessPolicy
    database: Database
    access_log: AccessLog
    operator: str
    stores: Callable[[str], Store]
    now: datetime
    rate: float

    def __post_init__(self) -> None:
        self._store = cache(self.stores)
        self._pace = Pace(self.rate)

    def look(self, row: StoredRow, report: ExpireReport) -> Found | None:
        report.rows += 1
        found = recognise(row, self.policy, self.database)
        if found is None:
            return None
        report.references += 1
        if isinstance(found, SecureXComError):
            report.unreadable += 1
            return None
        over = due(found)
        if over is None or over > self.now:
            return None
        if self.policy.held(row.dag_id, row.run_id) is not None:
            report.held += 1
            return None
        report.expired += 1
        report.expired_bytes += found.reference.size
        name_one(report.examples, row.where)
        return found

    def delete(self, expired: Sequence[Found], report: ExpireReport) -> None:
        # An access log that takes nothing stops the job before anything is deleted.
        self.access_log.record([self._event(found, "ok") for found in expired])
        failed = self._delete_payloads(expired)
        for found in expired:
            error = failed.get(id(found))
            if error is not None:
                report.failed += 1
                name_one(report.failures, str(error))
                self.access_log.record([self._event(found, "failed", type(error).__name__)])
            elif self.database.delete(found.row):
                report.deleted += 1
            else:
                report.changed += 1
        self._pace.did(len(expired))

    def _delete_payloads(self, expired: Sequence[Found]) -> dict[int, SecureXComError]:
        """Delete the payloads, in bulk for each store; what went wrong stands by its row."""
        failed: dict[int, SecureXComError] = {}
        by_store: dict[str, list[tuple[Found, str]]] = {}
        for found in expired:
            try:
                place = place_within(found.reference, found.compartment, found.row.where)
            except SecureXComError as error:
                failed[id(found)] = error
                continue
            if place is not None:
                by_store.setdefault(place[0], []).append((found, place[1]))
        for uri, entries in by_store.items():
            try:
                answers = self._store(uri).delete_many([path for _, path in entries])
            except SecureXComError as error:
                failed.update({id(found): error for found, _ in entries})
                continue
            for (found, _), answer in zip(entries, answers, strict=True):
                if answer is not None:
                    failed[id(found)] = answer
        return failed

    def _event(self, found: Found, outcome: Outcome, error: str | None = None) -> Event:
        head = found.reference.head
        return Event(
            "expire",
            outcome,
            coordinate=head.coordinate,
            compartment=head.compartment,
            error=error,
            object=head.object,
            size=found.reference.size,
            policy=self.policy.digest,
            operator=self.operator,
        )

"""``secure-xcom expire``: payloads and rows whose time is over.

The time is the head's ``expires``; for a reference that was made when its compartment had no retention, its
creation and the retention of today. A pull of an expired XCom is refused already; here the bytes go. The payload
goes first and the row after it, so that a job that was killed between the two finds its row again. What is under a
legal hold stays. A grace of an hour keeps a clock that is fast from deleting early. A row that names a payload
which another row of its task instance named before is left, and so is the payload: see `others_payloads`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

from secure_xcom.core import clock
from secure_xcom.core.access_policy import AccessPolicy
from secure_xcom.core.errors import CoordinateMismatch, SecureXComError
from secure_xcom.core.event import Event, Outcome
from secure_xcom.core.pipeline.open_payload import SKEW, place_within
from secure_xcom.core.reference import TIME_FORMAT
from secure_xcom.ops.jobs.eligible_rows import Found, others_payloads, recognise
from secure_xcom.ops.jobs.examples import name_one
from secure_xcom.ops.jobs.gc_inventory import locked
from secure_xcom.ops.jobs.progress import Progress, silent
from secure_xcom.ops.jobs.rate_limit import Pace
from secure_xcom.ops.xcom_table import Database, StoredRow
from secure_xcom.sinks import AccessLog
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
    if head.expires is not None:
        return _time(head.expires)
    lasts = found.compartment.lasts(head.key)
    if lasts is None:
        return None
    # Who wrote the row may say that it was made in the days to come, and the database knows when it came.
    created, written = _time(head.created), found.row.timestamp
    if written is not None and created > written + SKEW:
        created = written
    try:
        return created + timedelta(seconds=lasts)
    except OverflowError:
        return None


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
    run = _Run(policy, database, access_log, operator, stores, clock.now() - grace, rate)
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
        copies = others_payloads(expired, self.database)
        for found in expired:
            first = copies.get(found.row.position)
            if first is not None:
                what = f"its payload is that of {first.where}, which was there before"
                failed[id(found)] = CoordinateMismatch(what, where=found.row.where)
                continue
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


def _time(text: str) -> datetime:
    return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=timezone.utc)

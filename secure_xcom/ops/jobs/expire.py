"""Delete expired XComs, and those of archived attempts: payloads and rows.

An XCom expires at the time in its head's ``expires``. A reference that was made while its compartment had no
retention expires at its creation plus today's retention. Pulls of expired XComs are refused already; this job
deletes the bytes. It deletes the payload first and the row second, so that a job that was killed in between finds
the row again. XComs under a legal hold stay. A grace period of one hour keeps a fast clock from deleting early.
Where a row names a payload that an older row of the same task instance names, both are left: see
`others_payloads`.

From Airflow 3.4 on a retry or a clearing archives what the attempt before pushed; earlier releases deleted it. So
this job deletes it once the DAG run has ended, or ``archived_retention`` later, and exclusive XComs at once: the
data key goes with the row. It only ever deletes references: what Airflow itself writes, such as the operator extra
links of earlier tries, stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from secure_xcom.core import clock
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import CoordinateMismatch, SecureXComError
from secure_xcom.core.event import Event, Outcome
from secure_xcom.core.expiry import moment_of
from secure_xcom.core.pipeline.open_payload import SKEW, place_within
from secure_xcom.ops.compartments import archived_retention_seconds
from secure_xcom.ops.jobs.eligible_rows import EligibleRow, others_payloads, recognise
from secure_xcom.ops.jobs.gc_inventory import locked
from secure_xcom.ops.jobs.job import Report
from secure_xcom.ops.jobs.progress import Progress, silent
from secure_xcom.ops.jobs.rate_limit import Pace
from secure_xcom.ops.jobs.report_text import add_example, bytes_text, example_lines
from secure_xcom.ops.xcom_table import Database, StoredRow
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import Store, store

GRACE = timedelta(hours=1)


@dataclass
class ExpireReport(Report):
    """What a run found and did.

    :ivar archived: of the expired, those of archived attempts that go before their retention is over.
    :ivar held: expired, but under a legal hold; :ivar changed: overwritten by a task meanwhile;
        :ivar unreadable: references that cannot be read, are in another row, or of an unknown compartment.
    """

    deleting: bool
    rows: int = 0
    references: int = 0
    expired: int = 0
    archived: int = 0
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
        """Return whether anything is left to do."""
        return bool(self.failed or self.expired > self.deleted + self.changed)

    def lines(self) -> list[str]:
        """See `Report.lines`."""
        lines = [
            f"{self.rows} rows, {self.references} of them references",
            f"{self.expired} expired ({bytes_text(self.expired_bytes)}), {self.held} more under a legal hold",
            *([f"{self.archived} of them belong to archived attempts of ended runs"] if self.archived else ()),
            *example_lines(self.examples, self.expired),
        ]
        if self.unreadable:
            lines.append(f"{self.unreadable} references were left alone: `secure-xcom doctor` says why")
        if self.deleting:
            lines.append(
                f"deleted {self.deleted}, {self.changed} were overwritten meanwhile, {self.failed} failed"
            )
            lines += example_lines(self.failures, self.failed, title="could not be deleted:")
        elif self.expired:
            lines.append("nothing was deleted: run it with --apply")
        return lines


def due(eligible: EligibleRow) -> datetime | None:
    """Return when an XCom expires; None where it never does."""
    head = eligible.reference.head
    if head.expires is not None:
        return moment_of(head.expires)
    retention = eligible.compartment.lasts(head.key)
    if retention is None:
        return None
    # Whoever wrote the row can date it into the future; the database knows when it was written.
    created, written = moment_of(head.created), eligible.row.timestamp
    if written is not None and created > written + SKEW:
        created = written
    try:
        return created + timedelta(seconds=retention)
    except OverflowError:
        return None


def is_over(eligible: EligibleRow, ended: Mapping[tuple[str, str], datetime | None], now: datetime) -> bool:
    """Return whether an XCom of an archived attempt is to go, as its DAG run has ended long enough ago.

    :param ended: the runs that have ended, as `AirflowDatabase.ended_runs` gives them.
    """
    row = eligible.row
    if not row.archived or (row.dag_id, row.run_id) not in ended:
        return False
    end = ended[row.dag_id, row.run_id]
    kept = archived_retention_seconds(eligible.compartment)
    if kept == 0 or eligible.reference.head.exclusive is not None:
        return True
    return end is not None and end + timedelta(seconds=kept) <= now


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
    """Find expired XComs and, with ``delete``, delete their payloads and rows. A later run finishes what is left.

    :param state: a file that is locked, so that one run works at a time.
    :param operator: who runs it, for the access log.
    :param grace: how long an expired XCom is kept.
    :raises MaintenanceError: the database cannot be used; :raises AuditError: the access log cannot be written.
    """
    run = _Run(policy, database, access_log, operator, stores, clock.now() - grace, rate)
    report = ExpireReport(delete)
    with locked(state):
        total = database.count()
        for page in database.pages():
            ended = database.ended_runs((row.dag_id, row.run_id) for row in page if row.archived)
            expired = [xcom for row in page if (xcom := run.examine(row, ended, report)) is not None]
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

    def examine(
        self, row: StoredRow, ended: Mapping[tuple[str, str], datetime | None], report: ExpireReport
    ) -> EligibleRow | None:
        report.rows += 1
        recognised = recognise(row, self.policy, self.database)
        if recognised is None:
            return None
        report.references += 1
        if isinstance(recognised, SecureXComError):
            report.unreadable += 1
            return None
        expiry = due(recognised)
        expired = expiry is not None and expiry <= self.now
        if not expired and not is_over(recognised, ended, self.now):
            return None
        if self.policy.held(row.dag_id, row.run_id) is not None:
            report.held += 1
            return None
        report.expired += 1
        report.archived += not expired
        report.expired_bytes += recognised.reference.size
        add_example(report.examples, row.where)
        return recognised

    def delete(self, expired: Sequence[EligibleRow], report: ExpireReport) -> None:
        # An access log that cannot be written stops the job before anything is deleted.
        self.access_log.record([self._event(eligible, "ok") for eligible in expired])
        failed = self._delete_payloads(expired)
        for eligible in expired:
            error = failed.get(id(eligible))
            if error is not None:
                report.failed += 1
                add_example(report.failures, str(error))
                self.access_log.record([self._event(eligible, "failed", type(error).__name__)])
            elif self.database.delete(eligible.row):
                report.deleted += 1
            else:
                report.changed += 1
        self._pace.did(len(expired))

    def _delete_payloads(self, expired: Sequence[EligibleRow]) -> dict[int, SecureXComError]:
        """Delete the payloads, in bulk for each store. Return the errors by the id of their XCom."""
        failed: dict[int, SecureXComError] = {}
        by_store: dict[str, list[tuple[EligibleRow, str]]] = {}
        copies = others_payloads(expired, self.database)
        for eligible in expired:
            first = copies.get(eligible.row.position)
            if first is not None:
                what = f"it names the payload of {first.where}, an older row"
                failed[id(eligible)] = CoordinateMismatch(what, where=eligible.row.where)
                continue
            try:
                place = place_within(eligible.reference, eligible.compartment, eligible.row.where)
            except SecureXComError as error:
                failed[id(eligible)] = error
                continue
            if place is not None:
                by_store.setdefault(place[0], []).append((eligible, place[1]))
        for uri, entries in by_store.items():
            try:
                answers = self._store(uri).delete_many([path for _, path in entries])
            except SecureXComError as error:
                failed.update({id(eligible): error for eligible, _ in entries})
                continue
            for (eligible, _), answer in zip(entries, answers, strict=True):
                if answer is not None:
                    failed[id(eligible)] = answer
        return failed

    def _event(self, eligible: EligibleRow, outcome: Outcome, error: str | None = None) -> Event:
        head = eligible.reference.head
        return Event(
            "expire",
            outcome,
            coordinate=head.coordinate,
            compartment=head.compartment,
            error=error,
            object=head.object,
            size=eligible.reference.size,
            policy=self.policy.digest,
            operator=self.operator,
        )

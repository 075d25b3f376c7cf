"""``secure-xcom ui count``: numbers of each compartment for the page in Airflow's UI.

The page must not count ten million rows when somebody looks at it, so maintenance does, and keeps the numbers in a
table of Airflow's database. Nothing is opened, and no key or store is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from secure_xcom import numbers
from secure_xcom.core import clock
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.expiry import moment_of
from secure_xcom.core.operator_errors import MaintenanceError
from secure_xcom.keys import version_of
from secure_xcom.numbers import Numbers
from secure_xcom.numbers.table import OUTSIDE
from secure_xcom.ops.audit_trail.entries import event_of
from secure_xcom.ops.audit_trail.pieces import Source
from secure_xcom.ops.jobs.eligible_rows import EligibleRow, is_airflows_own, recognize
from secure_xcom.ops.jobs.expire import due
from secure_xcom.ops.jobs.job import Report
from secure_xcom.ops.jobs.progress import Progress, silent
from secure_xcom.ops.xcom_table import Database, StoredRow

_PULL = b'"action":"pull"'
# An event may be written some time after its time, and clocks differ.
_OVERLAP = timedelta(days=1)


@dataclass
class CountReport(Report):
    """What was counted.

    :ivar made: whether the table is there; without it nothing is counted.
    """

    made: bool = False
    compartments: int = 0
    rows: int = 0
    xcoms: int = 0
    plaintext: int = 0
    unreadable: int = 0
    pulls: int = 0

    @property
    def found(self) -> bool:
        """Return whether anything is left that needs attention: this job leaves nothing."""
        return False

    @property
    def errors(self) -> Sequence[SecureXComError]:
        """See `Report.errors`: without a table nothing can be counted."""
        if self.made:
            return ()
        return [MaintenanceError("there is no table of numbers", remedy="run `secure-xcom ui migrate`")]

    def lines(self) -> list[str]:
        """Return the report as lines of text, for people."""
        if not self.made:
            return []
        sealed = f"{self.xcoms} sealed XComs of {self.compartments} compartments"
        return [f"{self.rows} rows counted: {sealed}, {self.plaintext} in plaintext, {self.unreadable} unreadable"]


def count(
    policy: AccessPolicy,
    database: Database,
    sources: Sequence[Callable[[], Source]] = (),
    *,
    dry_run: bool = False,
    progress: Progress = silent,
) -> CountReport:
    """Count every row, and keep the numbers.

    :param dry_run: keep no numbers.
    :param sources: of the access log, for when each compartment was last pulled from.
    :raises MaintenanceError: the database cannot be used; :raises AccessLogUnreadable: the access log cannot.
    """
    with database.transaction("reading the numbers") as connection:
        if not numbers.is_made(connection):
            return CountReport()
        before = {numbers_of.compartment: numbers_of for numbers_of in numbers.read(connection)}
    report, now = CountReport(made=True), clock.now()
    every = {compartment.name: Numbers(compartment.name) for compartment in policy.compartments}
    every[OUTSIDE] = Numbers(OUTSIDE)
    total = database.count()
    # A row that Airflow does not show is no XCom of its own: what it shows of that one is counted.
    for page in database.pages(without_hidden=True):
        for row in page:
            _take(row, policy, database, every, now)
        report.rows += len(page)
        progress("counting rows", report.rows, max(total, report.rows))
    _last_pulls(every, before, [make() for make in sources], report)
    if not dry_run:
        with database.transaction("writing the numbers") as connection:
            numbers.write(connection, every.values(), now)
    report.compartments = len(policy.compartments)
    for numbers_of in every.values():
        report.xcoms += numbers_of.xcoms
        report.plaintext += numbers_of.plaintext
        report.unreadable += numbers_of.unreadable
    return report


def _take(
    row: StoredRow, policy: AccessPolicy, database: Database, every: Mapping[str, Numbers], now: datetime
) -> None:
    recognized = recognize(row, policy, database)
    if isinstance(recognized, EligibleRow):
        _reference(recognized, every[recognized.compartment.name], now)
        return
    compartment = policy.resolve_dag(row.dag_id)
    counted = every[OUTSIDE if compartment is None else compartment.name]
    if isinstance(recognized, SecureXComError):
        counted.unreadable += 1
    elif not is_airflows_own(row):
        counted.plaintext += 1


def _reference(eligible: EligibleRow, counted: Numbers, now: datetime) -> None:
    reference = eligible.reference
    counted.xcoms += 1
    counted.bytes += reference.size
    over = due(eligible)
    if reference.shredded is None and over is not None and over < now:
        counted.expired += 1
    for key in reference.keys:
        version = version_of(key.wrapped)
        if version is not None:
            counted.see_version(key.uri, version)
    created = moment_of(reference.head.created)
    # Who writes rows may write any time into them.
    if created <= now:
        counted.first_pushed = min(created, counted.first_pushed or created)


def _last_pulls(
    every: Mapping[str, Numbers], before: Mapping[str, Numbers], sources: Iterable[Source], report: CountReport
) -> None:
    """Find the last pull of each compartment: what was known, and what the access log has of since then."""
    for name, known in before.items():
        if name in every:
            every[name].last_pull = known.last_pull
    counted = [known.counted for known in before.values() if known.counted is not None]
    since = max(counted) - _OVERLAP if counted else datetime(1970, 1, 1, tzinfo=timezone.utc)
    for source in sources:
        for piece in source.pieces():
            if piece.written is not None and piece.written < since:
                continue
            for line in piece.lines():
                if _PULL in line.data:
                    _pull(line.data, every, since, report)


def _pull(line: bytes, every: Mapping[str, Numbers], since: datetime, report: CountReport) -> None:
    event = event_of(line)
    if event is None or event.get("action") != "pull" or event.get("outcome") != "ok":
        return
    compartment_numbers = every.get(str(event.get("compartment")))
    time = _time(event.get("time"))
    if compartment_numbers is None or time is None or time < since:
        return
    report.pulls += 1
    compartment_numbers.last_pull = max(time, compartment_numbers.last_pull or time)


def _time(text: object) -> datetime | None:
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None

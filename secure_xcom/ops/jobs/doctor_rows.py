"""Find plaintext, unreadable references and stale wraps in the metadata database, for ``secure-xcom doctor``.

Nothing is opened and no key service is called. A reference counts as unreadable where it is malformed, in a row
other than its own, of a compartment, key or store that the access policy does not have, or without its payload.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from secure_xcom.core import clock
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import ReferenceExpired, SecureXComError, StoreError
from secure_xcom.core.findings import Finding, Status
from secure_xcom.core.pipeline.open_payload import check_time, openable
from secure_xcom.core.reference import LARGEST_BYTES
from secure_xcom.keys import KeyUri, openers, version_of
from secure_xcom.ops.jobs.eligible_rows import (
    LINK_PREFIX,
    EligibleRow,
    check_compartment,
    is_of_loop,
    is_skip_decision,
    recognize,
)
from secure_xcom.ops.jobs.expire import due, is_over
from secure_xcom.ops.jobs.gc import collect
from secure_xcom.ops.jobs.progress import Progress, silent
from secure_xcom.ops.jobs.report_text import EXAMPLES, add_example
from secure_xcom.ops.xcom_table import Database, StoredRow
from secure_xcom.stores import Store, store

_DAY = timedelta(days=1)
ARCHIVES = (
    "_airflow_deleted__xcom__",
    "_airflow_deleted__xcom_v1__",
    "_airflow_deleted__xcom_v2__",
    "_xcom_archive",
)
"""The beginnings of names of tables with earlier XComs: archives of `airflow db clean`, up to Airflow 3.3 and
from 3.4 on, and the pickled XComs of Airflow 2 that the upgrade to 3.0 put aside (airflow/utils/db_cleanup.py)."""


class Archived(NamedTuple):
    """How much is stored of archived attempts: references, and bytes of their sealed payloads."""

    xcoms: int = 0
    bytes: int = 0


class ExaminedRows(NamedTuple):
    """What the rows are like.

    :ivar rows: how many there are; :ivar archived: what belongs to archived attempts, which nobody pulls any more.
    """

    rows: int
    findings: list[Finding]
    archived: Archived


@dataclass(slots=True)
class _RuleRows:
    """Rows that one rule found."""

    status: Status
    text: str
    remedy: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


class _RowFindings:
    """Groups rows by rule: one finding for each rule, with the number of rows and a few coordinates."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rules: dict[str, _RuleRows] = {}

    def add(self, rule: str, status: Status, text: str, remedy: str, where: str) -> None:
        rows = self._rules.setdefault(rule, _RuleRows(status, text, remedy))
        rows.count += 1
        add_example(rows.examples, where, self._limit)

    def add_error(self, error: SecureXComError, where: str) -> None:
        self.add(f"reference-{type(error).__name__}", "error", error.what, error.remedy, where)

    def findings(self) -> Iterator[Finding]:
        for rule, rows in self._rules.items():
            yield Finding(
                "rows", rows.status, rows.text, rows.remedy, rule, count=rows.count, examples=tuple(rows.examples)
            )


def examine_rows(
    policy: AccessPolicy, database: Database, *, limit: int = EXAMPLES, progress: Progress = silent
) -> ExaminedRows:
    """Examine every XCom row and the related tables.

    :param limit: how many coordinates a finding names.
    :raises DatabaseFailed: the database does not answer.
    """
    by_rule = _RowFindings(limit)
    versions: Counter[tuple[str, int]] = Counter()
    total, done = database.count(), 0
    now, archived = clock.now(), Archived()
    for page in database.pages():
        ended = database.ended_runs((row.dag_id, row.run_id) for row in page if row.archived)
        for row in page:
            recognized = recognize(row, policy, database)
            if recognized is None:
                _plaintext(row, by_rule)
            elif isinstance(recognized, SecureXComError):
                by_rule.add_error(recognized, row.where)
            else:
                _reference(recognized, policy, by_rule, versions, now)
                if row.archived:
                    archived = Archived(archived.xcoms + 1, archived.bytes + recognized.reference.size)
                    _archived(recognized, ended, by_rule, now)
        done += len(page)
        progress("reading rows", done, max(total, done))
    findings = [*by_rule.findings(), *_stale(versions), *_related_tables(database)]
    return ExaminedRows(done, findings, archived)


def examine_payloads(
    policy: AccessPolicy,
    database: Database,
    state: Path,
    *,
    limit: int = EXAMPLES,
    stores: Callable[[str], Store] = store,
    progress: Progress = silent,
) -> list[Finding]:
    """Compare rows with payloads, as gc does, and change nothing. A store that fails is a finding.

    :raises MaintenanceError: the database or the state file cannot be used.
    """
    try:
        return collect(
            policy, database, state, delete=False, examples=limit, stores=stores, progress=progress
        ).findings
    except StoreError as error:
        text = f"rows and payloads could not be compared: {error.what}"
        examples = (error.where,) if error.where else ()
        return [Finding("payloads", "error", text, error.remedy, "payloads-not-known", examples=examples)]


def _archived(
    eligible: EligibleRow, ended: Mapping[tuple[str, str], datetime | None], by_rule: _RowFindings, now: datetime
) -> None:
    end = ended.get((eligible.row.dag_id, eligible.row.run_id))
    # `expire` has had a day to delete it.
    if is_over(eligible, ended, now) and (end is None or end < now - _DAY):
        by_rule.add(
            "archived-row",
            "warning",
            "references of archived attempts whose DAG run has ended, and which still exist",
            "run `secure-xcom expire --apply`, or let the maintenance DAG do it",
            eligible.row.where,
        )


def _plaintext(row: StoredRow, by_rule: _RowFindings) -> None:
    if row.text is None and not row.size:
        return
    if is_of_loop(row) or is_skip_decision(row):
        # Airflow masks the reason of a loop's decision, caps it at 512 bytes, and reads it itself, as it does the
        # ids of tasks that a branching task follows or skips.
        return
    if row.key.startswith(LINK_PREFIX):
        by_rule.add(
            "link-row",
            "warning",
            "addresses of operator extra links, which Airflow writes and reads in plaintext, without any backend",
            "keep secrets out of the links of your operators (docs/concepts/what-bypasses-xcom.md)",
            row.where,
        )
        return
    by_rule.add(
        "plaintext-row",
        "error",
        "rows with a plaintext value: older than the backend, or from REST writes or triggers",
        "run `secure-xcom migrate --apply`; find what bypasses the backend (docs/concepts/what-bypasses-xcom.md)",
        row.where,
    )


def _reference(
    eligible: EligibleRow,
    policy: AccessPolicy,
    by_rule: _RowFindings,
    versions: Counter[tuple[str, int]],
    now: datetime,
) -> None:
    row, reference, compartment = eligible.row, eligible.reference, eligible.compartment
    if reference.shredded is not None:
        return
    where = row.where
    # Only wraps that a pull would send to a key service: a row can name any key.
    wraps = [(key.uri, key.wrapped) for key in reference.keys]
    for uri, wrapped in openers(compartment.all_key_uris, wraps):
        version = version_of(wrapped)
        if version is not None:
            versions[KeyUri.parse(uri).name, version] += 1
    try:
        check_compartment(reference.head, policy)
        openable(reference, compartment, max_bytes=LARGEST_BYTES, where=where, expired=True)
        check_time(reference, where)
    except ReferenceExpired:
        # Reported below, once `expire` has had a day to delete it.
        pass
    except SecureXComError as error:
        by_rule.add_error(error, row.where)
    expiry = due(eligible)
    if expiry is not None and expiry < now - _DAY:
        by_rule.add(
            "expired-row",
            "warning",
            "references that expired over a day ago and still exist",
            "run `secure-xcom expire --apply`, or let the maintenance DAG do it",
            row.where,
        )


def _stale(versions: Counter[tuple[str, int]]) -> Iterator[Finding]:
    newest: dict[str, int] = {}
    for uri, version in versions:
        newest[uri] = max(version, newest.get(uri, version))
    for uri, latest in newest.items():
        stale = {version: count for (key, version), count in versions.items() if key == uri and version < latest}
        if stale:
            yield Finding(
                uri,
                "warning",
                f"wraps by {uri} of version {min(stale)} and up, while version {latest} is in use",
                "run `secure-xcom rewrap --apply`, then raise min_decryption_version and min_encryption_version",
                "stale-wrap",
                count=sum(stale.values()),
            )


def _related_tables(database: Database) -> Iterator[Finding]:
    for table in database.tables():
        if table.startswith(ARCHIVES):
            size = database.size_of(table)
            rows = "deleted rows" if size is not None else "deleted rows (this user may not count them)"
            yield Finding(
                f"table {table}",
                "warning",
                f"the table {table} keeps {rows}: old plaintext, or references with wraps",
                "export what must be kept, and run `airflow db drop-archived -t xcom`",
                "archive-table",
                count=size or 0,
            )
    bodies = database.logged_xcom_bodies()
    if bodies:
        yield Finding(
            "table log",
            "error",
            "events in Airflow's table log with the body of a REST write of an XCom, its value included",
            "delete those events (table log, events create_xcom_entry and update_xcom_entry), and revoke the "
            "users' right to write XComs through REST",
            "action-log-body",
            count=bodies,
        )

"""``secure-xcom doctor``, the rows: what lies in the table ``xcom`` and the tables beside it that should not.

Nothing is opened and no key is asked for. A reference counts as one that cannot be opened where it is malformed,
in another row than its own, of a compartment, key or store that the access policy does not have, or without its
payload.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from secure_xcom.core import clock
from secure_xcom.core.access_policy import AccessPolicy
from secure_xcom.core.errors import ReferenceExpired, SecureXComError, StoreError
from secure_xcom.core.pipeline.open_payload import check_time, openable
from secure_xcom.core.reference import LARGEST_BYTES
from secure_xcom.keys import KeyUri, openers, version_of
from secure_xcom.ops.checks.doctor_findings import Ailment, Ailments
from secure_xcom.ops.jobs.eligible_rows import Found, check_compartment, recognise
from secure_xcom.ops.jobs.expire import due
from secure_xcom.ops.jobs.gc import collect
from secure_xcom.ops.jobs.progress import Progress, silent
from secure_xcom.ops.xcom_table import Database, StoredRow
from secure_xcom.stores import Store, store

ARCHIVE = "_airflow_deleted__xcom__"


def examine_rows(
    policy: AccessPolicy, database: Database, ailments: Ailments, *, progress: Progress = silent
) -> int:
    """Look at every row and at the tables beside it; gives the number of rows.

    :raises DatabaseFailed: the database does not answer.
    """
    versions: Counter[tuple[str, int]] = Counter()
    total, done = database.count(), 0
    now = clock.now()
    for page in database.pages():
        for row in page:
            found = recognise(row, policy, database)
            if found is None:
                _plain(row, ailments)
            elif isinstance(found, SecureXComError):
                ailments.of_error("reference", found, row.where)
            else:
                _reference(found, policy, ailments, versions, now)
        done += len(page)
        progress("reading rows", done, max(total, done))
    _stale(versions, ailments)
    _beside(database, ailments)
    return done


def examine_payloads(
    policy: AccessPolicy,
    database: Database,
    state: Path,
    ailments: Ailments,
    *,
    stores: Callable[[str], Store] = store,
    progress: Progress = silent,
) -> None:
    """Hold rows and payloads against each other, as gc does, and change nothing. A store that is ill is a finding.

    :raises MaintenanceError: the database or the state file cannot be used.
    """
    limit = ailments.limit
    try:
        report = collect(policy, database, state, delete=False, examples=limit, stores=stores, progress=progress)
    except StoreError as error:
        text = f"rows and payloads could not be held against each other: {error.what}"
        where = [error.where] if error.where else []
        ailments.add(Ailment("payloads-not-known", "error", text, error.remedy, examples=where))
        return
    if report.missing:
        ailments.add(
            Ailment(
                "payload-missing",
                "error",
                "rows whose payload is not in its store: their pulls fail",
                "clear their tasks so that they push again, or restore the payloads from a backup",
                report.missing,
                report.missing_examples,
            )
        )
    if report.orphans:
        ailments.add(
            Ailment(
                "payload-orphaned",
                "warning",
                "payloads that no row names: nobody can open them, and they take room",
                "run `secure-xcom gc --delete`",
                report.orphans,
                report.orphan_examples,
            )
        )


def _plain(row: StoredRow, ailments: Ailments) -> None:
    if row.text is None and not row.size:
        return
    ailments.of_row(
        "plaintext-row",
        "error",
        "rows with a value in plaintext: from before, from REST writes, triggers or operator links",
        "run `secure-xcom seal-existing --apply`; then find who writes past the backend (docs/threat-model.md)",
        row.where,
    )


def _reference(
    found: Found, policy: AccessPolicy, ailments: Ailments, versions: Counter[tuple[str, int]], now: datetime
) -> None:
    row, reference, compartment = found.row, found.reference, found.compartment
    if reference.shredded is not None:
        return
    # Only wraps that a pull would ask a key for: a row can name any key.
    wraps = [(key.uri, key.wrapped) for key in reference.keys]
    for uri, wrapped in openers(compartment.all_key_uris, wraps):
        version = version_of(wrapped)
        if version is not None:
            versions[KeyUri.parse(uri).name, version] += 1
    try:
        check_compartment(reference.head, policy)
        openable(reference, compartment, max_bytes=LARGEST_BYTES, where=row.where, expired=True)
        check_time(reference, row.where)
    except ReferenceExpired:
        # Told below, once `expire` had its time.
        pass
    except SecureXComError as error:
        ailments.of_error("reference", error, row.where)
    over = due(found)
    if over is not None and over < now - timedelta(days=1):
        ailments.of_row(
            "expired-row",
            "warning",
            "references that expired over a day ago and are still there",
            "run `secure-xcom expire --delete`, or let the maintenance DAG do it",
            row.where,
        )


def _stale(versions: Counter[tuple[str, int]], ailments: Ailments) -> None:
    newest: dict[str, int] = {}
    for uri, version in versions:
        newest[uri] = max(version, newest.get(uri, version))
    for uri, latest in newest.items():
        old = sum(count for (named, version), count in versions.items() if named == uri and version < latest)
        if old:
            oldest = min(version for named, version in versions if named == uri)
            ailments.add(
                Ailment(
                    "stale-wrap",
                    "warning",
                    f"wraps by {uri} of version {oldest} and up, while {latest} is in use",
                    "run `secure-xcom rewrap --apply`, and then raise min_decryption_version",
                    old,
                )
            )


def _beside(database: Database, ailments: Ailments) -> None:
    for table in database.tables():
        if table.startswith(ARCHIVE):
            size = database.size_of(table)
            kept = "keeps deleted rows" if size is not None else "keeps deleted rows (not for this user to count)"
            ailments.add(
                Ailment(
                    "archive-table",
                    "warning",
                    f"the table {table} {kept}: plaintext from before, or references with wraps",
                    "export what must be kept, and run `airflow db drop-archived -t xcom`",
                    size or 0,
                )
            )
    bodies = database.logged_xcom_bodies()
    if bodies:
        ailments.add(
            Ailment(
                "action-log-body",
                "error",
                "events in Airflow's table log with the body of a REST write of an XCom, its value included",
                "delete those events (table log, events create_xcom_entry and update_xcom_entry), and take the "
                "right to write XComs by REST away from users",
                bodies,
            )
        )

"""Seal the plaintext values of existing rows in place (``migrate``), and back (``migrate-back``).

Sealing a row: its value (or the object of the stock backend that it names) is pushed as a task would push it; the
new payload is read back from its store, its data key unwrapped anew by the key service, and what comes out is held
against the old value; then the row is changed by compare and swap; then the old object is deleted. Killed at any
moment, the old value or the new one is there; running it again finishes the work, and gc removes a payload that
was put and not used.

What Airflow's table ``log``, rendered template fields, task logs and archive tables hold is not touched: it stays
where it leaked to (`secure-xcom doctor` finds a part of it).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from secure_xcom.connections.sql.positions import position_of
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.claim_errors import ClaimRefused
from secure_xcom.core.errors import SecureXComError, ValueTooLarge
from secure_xcom.core.operator_errors import MaintenanceError, ValueNotKept
from secure_xcom.core.pipeline.open_payload import key_uses, openable, place_within
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push
from secure_xcom.core.reference import is_reference
from secure_xcom.ops.jobs.eligible_rows import EligibleRow, check_compartment, is_airflows_own, recognize
from secure_xcom.ops.jobs.gc_inventory import locked
from secure_xcom.ops.jobs.job_checkpoint import Checkpoint
from secure_xcom.ops.jobs.migrate_report import MigrateReport, SealReport, UnsealReport
from secure_xcom.ops.jobs.opener import Opener
from secure_xcom.ops.jobs.progress import Progress, silent
from secure_xcom.ops.jobs.row_errors import concerns_all, is_of_the_payload
from secure_xcom.ops.jobs.stock_objects import OldObjects
from secure_xcom.ops.xcom_table import Database, StoredRow
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.sinks.recording import Draft, recording

# JSON may need six characters for one.
_SPELLING_MAX = 6
_READ_BACK = "migrate: read back before its row is changed"


def seal_existing(
    policy: AccessPolicy,
    database: Database,
    pipeline: Pipeline,
    opener: Opener,
    state: Path,
    old: OldObjects,
    *,
    apply: bool,
    operator: str,
    progress: Progress = silent,
) -> MigrateReport:
    """Seal every row with a plaintext value. The access log records each push, and each opening to compare.

    :param pipeline: one whose codecs take structures as they are.
    :param opener: reads the new payloads back.
    :param old: the objects of the previous backend.
    :raises MaintenanceError: the database does not answer; :raises AuditError: the access log cannot be written.
    """
    report = SealReport(apply)
    with locked(state):
        checkpoint = Checkpoint(state, {"job": "seal-existing", "database": database.name})
        if apply:
            _delete_left_over(database, checkpoint, old)
        for row in _rows(database, report, progress):
            if not row.size or is_airflows_own(row):
                continue
            recognized = recognize(row, policy, database)
            if recognized is not None:
                # A malformed reference can neither be pulled nor be sealed.
                if isinstance(recognized, SecureXComError):
                    report.skip(row.where, recognized)
                continue
            report.due += 1
            try:
                whole = _whole(row, database, opener.max_bytes)
                report.objects += old.names(whole.value)
                if apply:
                    _seal(policy, database, pipeline, opener, checkpoint, old, whole, operator, report)
            except SecureXComError as error:
                if concerns_all(error):
                    raise
                report.fail(row.where, error)
        checkpoint.forget()
    return report


def _seal(
    policy: AccessPolicy,
    database: Database,
    pipeline: Pipeline,
    opener: Opener,
    checkpoint: Checkpoint,
    old: OldObjects,
    row: StoredRow,
    operator: str,
    report: MigrateReport,
) -> None:
    value = _decoded(row)
    path = str(value) if old.names(value) else None
    structure = old.read(path, row.coordinate) if path is not None else value
    sealed = pipeline.push([Push(row.coordinate, structure)], operator=operator)[0]
    recognized = recognize(replace(row, text=json.dumps(sealed)), policy, database)
    if not isinstance(recognized, EligibleRow):
        raise MaintenanceError("the sealed value is not a reference of its row", where=row.where)
    try:
        if not _same(_open(policy, pipeline.access_log, opener, recognized, operator, _READ_BACK), structure):
            raise MaintenanceError("the sealed value differs from the original after opening", where=row.where)
    except SecureXComError:
        _delete_payload(opener, recognized)
        raise
    if path is not None:
        # Recorded before the row loses the path, so that the run after a killed one deletes the object.
        checkpoint.notes["old"] = {"position": list(row.position), "path": path}
        checkpoint.save(row.position)
    # If the answer is lost, the row may hold the new reference, so the new payload is left to gc.
    if not database.replace(row, sealed):
        report.changed += 1
        _delete_payload(opener, recognized)
        return
    report.converted += 1
    if path is not None:
        old.delete(path)
        checkpoint.notes.pop("old", None)
        checkpoint.save(row.position)


def unseal_all(
    policy: AccessPolicy,
    database: Database,
    access_log: AccessLog,
    opener: Opener,
    state: Path,
    *,
    apply: bool,
    operator: str,
    reason: str,
    progress: Progress = silent,
) -> MigrateReport:
    """Put every value back into its row in plaintext, and delete its payload.

    Each value is in the access log as opened, with the operator and the reason, before it is written into its row.
    What a pull would refuse stays sealed: the expired, the exclusive, the shredded, what is restricted in a way
    that this release does not know, what is of another row or compartment.

    :raises MaintenanceError: the database does not answer; :raises AuditError: the access log cannot be written.
    """
    report = UnsealReport(apply)
    with locked(state):
        for row in _rows(database, report, progress):
            recognized = recognize(row, policy, database)
            if recognized is None:
                continue
            closed = (
                recognized
                if isinstance(recognized, SecureXComError)
                else _closed(recognized, policy, opener.max_bytes)
            )
            if closed is not None or isinstance(recognized, SecureXComError):
                report.skip(row.where, closed)
                continue
            report.due += 1
            if not apply:
                continue
            try:
                structure = _open(policy, access_log, opener, recognized, operator, reason)
                if not database.replace(recognized.row, structure):
                    report.changed += 1
                    continue
                _check_row(database, recognized, structure)
                report.converted += 1
                _delete_payload(opener, recognized)
            except SecureXComError as error:
                if concerns_all(error) and not is_of_the_payload(error, opener, recognized):
                    raise
                report.fail(row.where, error)
    return report


def _rows(database: Database, report: MigrateReport, progress: Progress) -> Iterator[StoredRow]:
    total = database.count()
    for page in database.pages():
        yield from page
        report.rows += len(page)
        progress("reading rows", report.rows, max(total, report.rows))


def _delete_left_over(database: Database, checkpoint: Checkpoint, old: OldObjects) -> None:
    """Delete an old object whose row a killed run has sealed already."""
    left = checkpoint.notes.pop("old", None)
    if not isinstance(left, dict):
        return
    row = database.one(position_of(left["position"]))
    if row is None or is_reference(row.value):
        old.delete(str(left["path"]))


def _delete_payload(opener: Opener, eligible: EligibleRow) -> None:
    """Delete a payload that no row names. If that fails, it is left to gc."""
    place = place_within(eligible.reference, eligible.compartment, eligible.row.where)
    if place is not None:
        opener.store(place[0]).delete_many([place[1]])


def _check_row(database: Database, eligible: EligibleRow, structure: object) -> None:
    text = database.whole_text(eligible.row.position)
    if text is None or not _same(json.loads(text), structure):
        raise MaintenanceError(
            "the row does not hold the opened value; its payload is kept", where=eligible.row.where
        )


def _decoded(row: StoredRow) -> Any:
    try:
        return json.loads(row.text or "")
    except (ValueError, RecursionError):
        raise MaintenanceError(
            "the row does not hold JSON", where=row.where, remedy="clear its task, or delete the row"
        ) from None


def _same(left: object, right: object) -> bool:
    # As text, because a NaN is not equal to itself.
    try:
        return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueNotKept(f"it cannot be written as JSON again ({type(error).__name__})") from None


def _closed(eligible: EligibleRow, policy: AccessPolicy, max_bytes: int) -> SecureXComError | None:
    """Return why no pull would open a reference, as far as that is known before it is opened."""
    where = eligible.row.where
    try:
        check_compartment(eligible.reference.head, policy)
        openable(eligible.reference, eligible.compartment, max_bytes=max_bytes, where=where)
    except SecureXComError as error:
        return error
    return ClaimRefused("it is exclusive", where=where) if eligible.reference.head.exclusive is not None else None


def _whole(row: StoredRow, database: Database, max_bytes: int) -> StoredRow:
    """Return the row with its text.

    :raises ValueTooLarge: it is longer than any value that may be pushed.
    """
    if row.text is not None:
        return row
    if row.size > _SPELLING_MAX * max_bytes:
        raise ValueTooLarge(f"the row has {row.size} characters", where=row.where)
    return replace(row, text=database.whole_text(row.position))


def _open(
    policy: AccessPolicy, access_log: AccessLog, opener: Opener, eligible: EligibleRow, operator: str, reason: str
) -> object:
    """Return the value after the access log has recorded the opening."""
    draft = Draft(compartment=eligible.compartment.name, operator=operator, reason=reason)
    reference, where = eligible.reference, eligible.row.where
    draft.refers(reference, key_uses(reference))
    with recording(access_log, "open", [draft], task=None, policy=policy.digest):
        key, sealed = opener.fetch(reference, eligible.compartment, where=where)
        draft.opened_by, draft.cache_hit = key.uri, key.cached
        data = opener.open(reference, key, sealed, where)
        structure = opener.structure(reference, data, where)
    return structure  # noqa: RET504  # once the access log has it

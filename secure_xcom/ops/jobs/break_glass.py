"""Open one value for an operator in an emergency.

The operator's identity decides nothing here: an operator is no task, so no reader of the access policy matches.
The policies of the key service and the store decide. What applies to every reader applies to an operator as well:
retention, exclusive claims, and references that are in a row other than their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import Asked, Coordinate
from secure_xcom.core.errors import PlaintextRefused, ReferenceExpired
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.core.pipeline.open_payload import check_time, key_uses
from secure_xcom.core.reference import Reference, is_reference, parse
from secure_xcom.ops.jobs.eligible_rows import check_compartment, value_of
from secure_xcom.ops.jobs.opener import Opener
from secure_xcom.ops.xcom_table import Database, StoredRow
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.sinks.recording import Draft, recording


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened XCom. The access log has recorded it.

    :ivar data: the encoded value, as the head's codec writes it.
    :ivar opened_by: the name of the key that unwrapped the data key.
    :ivar hold: the legal hold that let it be opened after it expired.
    """

    reference: Reference
    data: bytes = field(repr=False)
    opened_by: str
    hold: str | None = None


def break_glass(
    policy: AccessPolicy,
    database: Database,
    access_log: AccessLog,
    opener: Opener,
    at: Coordinate,
    *,
    operator: str,
    reason: str,
    expired: bool = False,
    attempt: str | None = None,
) -> Opened:
    """Open one XCom. Nothing is given before the access log has it, and a refusal is in the log as well.

    :param operator: who does it, and :param reason: what for, for the access log.
    :param expired: open it behind its retention too, if a legal hold of the access policy is on it.
    :param attempt: the UUID of the task instance, where several have this coordinate, or an archived one is meant.
    :raises CommandError: there is no such XCom; :raises PlaintextRefused: its row holds no reference.
    :raises ReferenceRefused: malformed, of another row, expired, shredded; :raises ClaimRefused: it is exclusive.
    :raises SecureXComError: no key service or store gives this identity what it needs, or it does not open.
    """
    asked = Asked(at.dag_id, at.task_id, at.key, at.run_id, at.map_index, attempt=attempt)
    draft = Draft(asked=asked, operator=operator, reason=reason)
    where = str(at)
    with recording(access_log, "open", [draft], task=None, policy=policy.digest):
        row = _row(database, at, attempt)
        # Unlike a pull, this knows whose row it is.
        draft.asked = asked = replace(asked, attempt=row.attempt)
        reference = parse(_value(row, where))
        draft.refers(reference, key_uses(reference))
        asked.check(reference.head.coordinate)
        compartment = policy.compartment(reference.head.compartment)
        draft.compartment = compartment.name
        check_compartment(reference.head, policy)
        hold = _hold(policy, reference, where, expired=expired)
        if hold is not None:
            draft.rule = f"legal_holds[{hold.position}]"
        key, sealed = opener.fetch(reference, compartment, where=where, expired=hold is not None)
        draft.opened_by, draft.cache_hit = key.uri, key.cached
        data = opener.open(reference, key, sealed, where)
    return Opened(reference, data, key.uri, None if hold is None else hold.name)


class _Hold(NamedTuple):
    """A legal hold of the access policy: its position in the file, and its name."""

    position: int
    name: str


def _row(database: Database, at: Coordinate, attempt: str | None) -> StoredRow:
    row = database.at(at, attempt)
    if row is None:
        raise CommandError("there is no such XCom", where=str(at), remedy="look up its ids in Airflow's XCom tab")
    return row


def _value(row: StoredRow, where: str) -> object:
    value = value_of(row)
    if not is_reference(value):
        raise PlaintextRefused("the row holds a value without a reference: nothing is sealed there", where=where)
    return value


def _hold(policy: AccessPolicy, reference: Reference, where: str, *, expired: bool) -> _Hold | None:
    """Return the legal hold that overrides the retention of an expired XCom."""
    head = reference.head
    try:
        check_time(reference, where)
    except ReferenceExpired as error:
        hold = policy.held(head.dag_id, head.run_id)
        if hold is None:
            remedy = "nobody may read it any longer; a legal hold in the access policy is the only exception"
            raise ReferenceExpired(error.what, where=where, remedy=remedy) from None
        if not expired:
            remedy = f"it is under the legal hold {hold.name!r}: use --expired if the hold covers this access"
            raise ReferenceExpired(error.what, where=where, remedy=remedy) from None
        return _Hold(policy.legal_holds.index(hold), hold.name)
    return None


def checked_reason(text: str) -> str:
    """Return the reason for the access log, without surrounding space.

    :raises CommandError: it is empty, or not UTF-8 text.
    """
    if not text.strip():
        raise CommandError("a reason is required", where="--reason", remedy="state who decided this, and why")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CommandError("the reason is not UTF-8 text", where="--reason", remedy="write it in UTF-8") from None
    return text.strip()

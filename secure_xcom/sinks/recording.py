"""Record an operation in the access log: every XCom once all is done, or the one XCom that it failed at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields, replace

from secure_xcom.core.access_policy.verdict import Verdict
from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry
from secure_xcom.core.errors import AuditError, SecureXComError
from secure_xcom.core.event import Action, Event, KeyUse, Outcome
from secure_xcom.core.reference import Reference
from secure_xcom.sinks.access_log import AccessLog


@dataclass(slots=True)
class Draft:
    """What is known so far of one XCom, so that a failure is recorded with it as well.

    The fields are those of `Event`. A pull of a value that has no reference is recorded as plaintext_seen.
    """

    coordinate: Coordinate | None = None
    asked: Asked | None = None
    compartment: str | None = None
    rule: str | None = None
    keys: tuple[KeyUse, ...] = ()
    opened_by: str | None = None
    cache_hit: bool | None = None
    object: str | None = None
    size: int | None = None
    codec: str | None = None
    operator: str | None = None
    reason: str | None = None
    sensitive: bool | None = None
    plaintext: bool = False

    def refers(self, reference: Reference, keys: tuple[KeyUse, ...]) -> None:
        """Note what a reference says of itself."""
        self.coordinate, self.codec, self.size = reference.head.coordinate, reference.head.codec, reference.size
        self.object, self.keys = reference.head.object, keys

    def decided(self, verdict: Verdict) -> None:
        """Note a decision of the access policy."""
        self.compartment, self.rule = verdict.decided_in.name, verdict.rule

    def event(
        self, action: Action, outcome: Outcome, *, error: str | None, task: TaskTry | None, policy: str
    ) -> Event:
        """Return the event that this became."""
        known = {name: getattr(self, name) for name in _SHARED}
        done: Action = "plaintext_seen" if self.plaintext else action
        if outcome == "ok" and self.coordinate is not None:
            # It is what was asked for, or it would have been refused.
            known["asked"] = None
        return Event(done, outcome, error=error, task=task, policy=policy, **known)


_SHARED = tuple(field.name for field in fields(Draft) if field.name != "plaintext")


class Record:
    """The drafts of one operation, and which XCom is being worked on.

    :ivar ids: the ids of the events, once the operation is done and recorded.
    """

    __slots__ = ("_current", "drafts", "ids")

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.ids: list[str] = []
        self._current = drafts[0] if len(drafts) == 1 else Draft()

    def at(self, index: int) -> AbstractContextManager[Draft]:
        """Work on one XCom of several. An error, in this block or before the next, is recorded as this XCom's.

        :param index: its place among the drafts.
        """
        self._current = self.drafts[index]
        return nullcontext(self._current)

    def failure(self, action: Action, error: BaseException, task: TaskTry | None, policy: str) -> list[Event]:
        """Return the events of an operation that an error ended."""
        name = type(error).__name__
        # Keys that were unwrapped for the others are in the key service's log, so they have events as well.
        others = [
            draft
            for draft in self.drafts
            if draft is not self._current and draft.opened_by and not draft.cache_hit
        ]
        return [
            *(draft.event(action, "failed", error=name, task=task, policy=policy) for draft in others),
            self._current.event(action, outcome_of(error), error=name, task=task, policy=policy),
        ]


def outcome_of(error: BaseException) -> Outcome:
    """Return whether an error refuses something, or says that something could not be done."""
    return "refused" if isinstance(error, SecureXComError) and error.refuses else "failed"


@contextmanager
def recording(
    access_log: AccessLog, action: Action, drafts: Sequence[Draft], *, task: TaskTry | None, policy: str
) -> Iterator[Record]:
    """Record all drafts when the block is done, or the one that was worked on when an error ended it.

    :param policy: the digest of the access policy.
    :raises AuditError: it could not be recorded, so nothing may be given out.
    """
    record = Record(drafts)
    try:
        yield record
    except SecureXComError as error:
        access_log.record(record.failure(action, error, task, policy))
        raise
    except BaseException as error:
        # A time-out of Airflow or an end of the task: whoever stops a task is not to meet another error instead.
        with suppress(AuditError):
            access_log.record(record.failure(action, error, task, policy))
        raise
    try:
        record.ids = access_log.record(
            [draft.event(action, "ok", error=None, task=task, policy=policy) for draft in drafts]
        )
    except AuditError as error:
        # A sink that did take the events has them as done, so it is told that nothing was given. What this sink or
        # another does not take is kept for it, and the caller gets the error either way. That a key was unwrapped
        # is in the first event; a second event that says so would be looked for in the key service's log in vain.
        name = type(error).__name__
        again = [replace(draft, opened_by=None, cache_hit=None) for draft in drafts]
        with suppress(AuditError):
            access_log.record(
                [draft.event(action, "failed", error=name, task=task, policy=policy) for draft in again]
            )
        raise

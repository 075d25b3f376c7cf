"""Recording what a process does: once all of it is done, or the one XCom that it failed at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace

from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry
from secure_xcom.core.errors import (
    AccessError,
    AuditError,
    ClaimRefused,
    KeyServiceDenied,
    ReferenceRefused,
    SealError,
    SecureXComError,
    StoreDenied,
    UnwrapRefused,
)
from secure_xcom.core.event import Action, Event, KeyUse, Outcome
from secure_xcom.sinks.access_log import AccessLog

# What says no, as opposed to what could not be done.
_REFUSALS = (AccessError, ClaimRefused, ReferenceRefused, SealError, UnwrapRefused, KeyServiceDenied, StoreDenied)


@dataclass(slots=True)
class Draft:
    """What is known of an XCom on its way: filled in step by step, so that a failure is recorded with it too.

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
    plaintext: bool = False

    @property
    def where(self) -> str:
        """The coordinate, for an error's text."""
        return str(self.coordinate) if self.coordinate else ""

    def event(
        self, action: Action, outcome: Outcome, *, error: str | None, task: TaskTry | None, policy: str
    ) -> Event:
        """The event that this became."""
        known = {name: getattr(self, name) for name in _SHARED}
        done: Action = "plaintext_seen" if self.plaintext else action
        if outcome == "ok" and self.coordinate is not None:
            # It is what was asked for, or it would have been refused.
            known["asked"] = None
        return Event(done, outcome, error=error, task=task, policy=policy, **known)


_SHARED = tuple(field.name for field in fields(Draft) if field.name != "plaintext")


def outcome_of(error: BaseException) -> Outcome:
    """Whether an error says no, or that something could not be done."""
    return "refused" if isinstance(error, _REFUSALS) else "failed"


@contextmanager
def recording(
    access_log: AccessLog, action: Action, drafts: Sequence[Draft], *, task: TaskTry | None, policy: str
) -> Iterator[Callable[[], Iterator[Draft]]]:
    """Record all drafts when the block is done, or the one that it was at when an error ended it.

    Gives a function that goes through the drafts and notes which one is being worked at.

    :param policy: the digest of the access policy.
    :raises AuditError: it could not be recorded, so nothing may be given out.
    """
    current = Draft()

    def each() -> Iterator[Draft]:
        nonlocal current
        for draft in drafts:
            current = draft
            yield draft

    def failed(error: BaseException) -> list[Event]:
        outcome = outcome_of(error)
        name = type(error).__name__
        # Keys that were unwrapped for the others stand in the key service's log, so they have events as well.
        others = [draft for draft in drafts if draft is not current and draft.opened_by and not draft.cache_hit]
        return [
            *(draft.event(action, "failed", error=name, task=task, policy=policy) for draft in others),
            current.event(action, outcome, error=name, task=task, policy=policy),
        ]

    try:
        yield each
    except SecureXComError as error:
        access_log.record(failed(error))
        raise
    except BaseException as error:
        # A time-out of Airflow or an end of the task: whoever stops a task is not to meet another error instead.
        with suppress(AuditError):
            access_log.record(failed(error))
        raise
    try:
        access_log.record([draft.event(action, "ok", error=None, task=task, policy=policy) for draft in drafts])
    except AuditError as error:
        # A sink that did take the events has them as done, so it is told that nothing was given. What this sink or
        # another does not take is kept for it, and the caller gets the error either way. That a key was unwrapped
        # is in the first event; told twice, it would be looked for twice in the key service's log.
        name = type(error).__name__
        again = [replace(draft, opened_by=None, cache_hit=None) for draft in drafts]
        with suppress(AuditError):
            access_log.record(
                [draft.event(action, "failed", error=name, task=task, policy=policy) for draft in again]
            )
        raise

"""Recording what a process does: once all of it is done, or the one XCom that it failed at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

from secure_xcom.audit.events import Action, Event, Outcome
from secure_xcom.audit.log import AccessLog
from secure_xcom.coordinate import Coordinate, TaskTry
from secure_xcom.errors import (
    AccessError,
    KeyServiceDenied,
    ReferenceRefused,
    SealError,
    SecureXComError,
    StoreDenied,
    UnwrapRefused,
)

# What says no, as opposed to what could not be done.
_REFUSALS = (AccessError, ReferenceRefused, SealError, UnwrapRefused, KeyServiceDenied, StoreDenied)


@dataclass(slots=True)
class Draft:
    """What is known of an XCom on its way: filled in step by step, so that a failure is recorded with it too.

    The fields are those of `Event`. A push or pull of a value that has no reference is recorded as plaintext.
    """

    coordinate: Coordinate | None = None
    compartment: str | None = None
    rule: str | None = None
    keys: tuple[str, ...] = ()
    opened_with: str | None = None
    key_cached: bool | None = None
    object: str | None = None
    size: int | None = None
    codec: str | None = None
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
        done: Action = "plaintext" if self.plaintext and outcome == "ok" else action
        return Event(done, outcome, error=error, task=task, policy=policy, **known)


_SHARED = tuple(field.name for field in fields(Draft) if field.name != "plaintext")


@contextmanager
def recording(
    access_log: AccessLog, action: Action, drafts: Sequence[Draft], *, task: TaskTry | None, policy: str
) -> Iterator[Callable[[], Iterator[Draft]]]:
    """Record all drafts when the block is done, or the one that it was at when an error of our tree ended it.

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

    try:
        yield each
    except SecureXComError as error:
        outcome: Outcome = "refused" if isinstance(error, _REFUSALS) else "failed"
        name = type(error).__name__
        access_log.record([current.event(action, outcome, error=name, task=task, policy=policy)])
        raise
    access_log.record([draft.event(action, "ok", error=None, task=task, policy=policy) for draft in drafts])

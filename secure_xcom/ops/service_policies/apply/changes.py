"""A plan: the changes to make at a service, with their diffs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

ObjectState = Literal["make", "change", "there"]
"""The state of an object that is to be there."""
State = Literal["make", "change", "there", "remove"]


@dataclass(frozen=True)
class Change:
    """One step. Steps are done in order. A step that is done is found done by a later run.

    :ivar notes: for the operator, whether the step is done or not.
    """

    text: str
    state: State
    do: Callable[[], object] = field(repr=False)
    diff: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def apply(changes: Iterable[Change]) -> None:
    """Do the steps that are not done yet.

    :raises SecureXComError: a step failed; those before it are done, and another run continues there.
    """
    for change in changes:
        if change.state != "there":
            change.do()


def state_of(current: object, *, same: bool) -> ObjectState:
    """Return the state of an existing object, or None, compared with the wanted one."""
    return "make" if current is None else "there" if same else "change"

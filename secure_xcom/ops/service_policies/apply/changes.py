"""A plan: what there is to make or change at a service, what that changes line by line, and how it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

State = Literal["make", "change", "there"]


@dataclass(frozen=True)
class Change:
    """One step. Steps are done in order; each leaves what a later run finds as it is.

    :ivar notes: what an operator should know of it, whether it is done or not.
    """

    text: str
    state: State
    do: Callable[[], object] = field(repr=False)
    diff: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def apply(changes: Iterable[Change]) -> None:
    """Do what is not done yet.

    :raises SecureXComError: a step failed; those before it are done, and another run goes on from there.
    """
    for change in changes:
        if change.state != "there":
            change.do()


def state_of(there: object, *, same: bool) -> State:
    """Of a thing that is compared with what is wanted."""
    return "make" if there is None else "there" if same else "change"

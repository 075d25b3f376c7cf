"""How a DAG says that a value is for one reader only. Imported by DAG files, so nothing heavy is."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Exclusive(Generic[T]):
    """A value that one task instance only may pull. It is pushed as the value itself."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __repr__(self) -> str:
        # Operators log what they return.
        return "exclusive(***)"


def exclusive(value: T) -> Exclusive[T]:
    """Mark a value that is about to be pushed: ``return exclusive(it)``, ``ti.xcom_push("k", exclusive(it))``.

    Only a whole value can be exclusive, never a part of one: inside a list or a dict it is refused at the push.
    """
    return value if isinstance(value, Exclusive) else Exclusive(value)

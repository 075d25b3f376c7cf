"""The trials of `secure-xcom policy verify`: who, what, where, and whether the result agrees with the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

INSIDE = "inside"
"""The place of a right: the compartment, or the part of it that the identity is limited to."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One row of the matrix.

    :ivar place: `INSIDE`, or how it is outside; the key or the mount for requests about these.
    """

    identity: str
    service: Literal["vault", "s3", "kms"]
    action: str
    compartment: str
    place: str
    allowed: bool
    expected: bool

    @property
    def surprise(self) -> bool:
        """True if the result differs from the access policy."""
        return self.allowed != self.expected


@dataclass(frozen=True, slots=True)
class Lines:
    """The rows of one identity at one place: expected and allowed, expected and denied, and surprises."""

    identity: str
    service: str
    compartment: str
    place: str
    allowed: tuple[str, ...]
    denied: tuple[str, ...]
    surprises: tuple[str, ...]


def grouped(rows: Sequence[Trial]) -> list[Lines]:
    """Return the matrix for people, in the order of the trials."""
    groups: dict[tuple[str, str, str, str], list[Trial]] = {}
    for row in rows:
        groups.setdefault((row.identity, row.service, row.compartment, row.place), []).append(row)
    return [
        Lines(
            *of,
            allowed=tuple(row.action for row in actions if row.allowed and row.expected),
            denied=tuple(row.action for row in actions if not row.allowed and not row.expected),
            surprises=tuple(
                f"{row.action} {'allowed' if row.allowed else 'denied'}" for row in actions if row.surprise
            ),
        )
        for of, actions in groups.items()
    ]

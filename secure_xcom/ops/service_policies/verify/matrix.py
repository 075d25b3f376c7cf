"""One row of what `secure-xcom policy verify` tried: who, what, where, and whether that is as the file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

INSIDE = "inside"
"""Where a right lies: the compartment, or the part of it that the identity is limited to."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One row of the matrix.

    :ivar service: who was asked.
    :ivar place: `INSIDE`, or in which way outside of it; the key or the mount for what is asked of these.
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
        """Whether it is not as the access policy says."""
        return self.allowed != self.expected


@dataclass(frozen=True, slots=True)
class Lines:
    """The rows of one identity at one place: what was allowed, what was denied, what was a surprise."""

    identity: str
    service: str
    compartment: str
    place: str
    allowed: tuple[str, ...]
    denied: tuple[str, ...]
    surprises: tuple[str, ...]


def grouped(rows: Sequence[Trial]) -> list[Lines]:
    """The matrix for people, in the order in which it was tried."""
    groups: dict[tuple[str, str, str, str], list[Trial]] = {}
    for row in rows:
        groups.setdefault((row.identity, row.service, row.compartment, row.place), []).append(row)
    return [
        Lines(
            *of,
            allowed=tuple(row.action for row in found if row.allowed and row.expected),
            denied=tuple(row.action for row in found if not row.allowed and not row.expected),
            surprises=tuple(
                f"{row.action} {'allowed' if row.allowed else 'denied'}" for row in found if row.surprise
            ),
        )
        for of, found in groups.items()
    ]

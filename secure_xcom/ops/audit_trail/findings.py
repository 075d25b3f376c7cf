"""What `audit verify` finds, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    # Of events in files or objects:
    "edited",
    "removed",
    "reordered",
    "inserted",
    "duplicated",
    "truncated",
    "malformed",
    "unsealed",
    # Of the sealed log:
    "entry_changed",
    "entry_missing",
    "entry_misplaced",
    "tree_changed",
    "bad_signature",
    "forked",
    "not_extending",
    # No tampering:
    "interrupted",
    "half_written",
]

HARMLESS: tuple[Kind, ...] = ("interrupted", "half_written")
"""What a process leaves that was killed."""


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was found.

    :ivar place: the file, the object, or the store of the sealed log with the path in it; :ivar line: from 1.
    :ivar entry: the index in the sealed log.
    """

    kind: Kind
    text: str
    place: str
    line: int | None = None
    chain: str | None = None
    sequence: int | None = None
    entry: int | None = None

    @property
    def tampering(self) -> bool:
        """Whether somebody did it, as opposed to what a killed process leaves behind."""
        return self.kind not in HARMLESS

    @property
    def where(self) -> str:
        """In words: file and line, chain and sequence, entry."""
        parts = [self.place if self.line is None else f"{self.place}:{self.line}"]
        if self.chain is not None:
            parts.append(f"chain {self.chain}" + ("" if self.sequence is None else f" event {self.sequence}"))
        if self.entry is not None:
            parts.append(f"entry {self.entry}")
        return ", ".join(parts)

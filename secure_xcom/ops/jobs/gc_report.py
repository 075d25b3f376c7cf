"""What gc tells."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class GcReport:
    """What was found and done. Sizes are in bytes.

    :ivar young: payloads inside the window; :ivar foreign: names that are no payloads of ours, never touched.
    :ivar held: orphans under legal hold, or beside a row that cannot be read; :ivar failed: not deleted.
    :ivar refused: compartments in stores in which nothing was deleted, because too large a share has no row.
    :ivar unlisted: compartments in stores that could not be listed, so that nothing is known of them.
    :ivar missing: rows whose payload is not in its store.
    """

    deleting: bool
    stores: list[dict[str, str]] = field(default_factory=list)
    payloads: int = 0
    young: int = 0
    foreign: int = 0
    rows: int = 0
    references: int = 0
    unreadable: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    held: int = 0
    alive: int = 0
    failed: int = 0
    missing: int = 0
    orphan_examples: list[str] = field(default_factory=list)
    missing_examples: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Whether anything is left that somebody should know of."""
        ill = self.missing or self.failed or self.unreadable or self.refused or self.unlisted
        return bool(ill or self.orphans > self.deleted)

"""What gc reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from secure_xcom.core.findings import Finding
from secure_xcom.ops.jobs.job import Report
from secure_xcom.ops.jobs.report_text import bytes_text, example_lines


@dataclass
class GcReport(Report):
    """What a run found and did. Sizes are in bytes.

    :ivar young: payloads inside the window; :ivar foreign: names of objects that are no payloads, never touched.
    :ivar held: orphans under legal hold, or beside an unreadable row; :ivar failed: not deleted.
    :ivar refused: compartments in stores where nothing was deleted, because too large a share has no row.
    :ivar unlisted: compartments in stores that could not be listed, so that their payloads are unknown.
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
        """Return whether anything is left that needs attention."""
        problems = self.missing or self.failed or self.unreadable or self.refused or self.unlisted
        return bool(problems or self.orphans > self.deleted)

    @property
    def findings(self) -> list[Finding]:
        """The rows without a payload, and the payloads without a row."""
        findings = (
            Finding(
                "rows",
                "error",
                "rows whose payload is not in its store: their pulls fail",
                "clear their tasks so that they push again, or restore the payloads from a backup",
                "payload-missing",
                count=self.missing,
                examples=tuple(self.missing_examples),
            ),
            Finding(
                "payloads",
                "warning",
                "payloads that no row names: nobody can open them, and they use space",
                "run `secure-xcom gc --apply`",
                "payload-orphaned",
                count=self.orphans,
                examples=tuple(self.orphan_examples),
            ),
        )
        return [finding for finding in findings if finding.count]

    def lines(self) -> list[str]:
        """See `Report.lines`."""
        lines = [
            f"{self.payloads} payloads old enough, {self.young} younger, {self.foreign} objects of other programs",
            f"{self.rows} rows, {self.references} of them references",
            f"{self.orphans} payloads without a row ({bytes_text(self.orphan_bytes)})",
            *example_lines(self.orphan_examples, self.orphans),
            f"{self.missing} rows without a payload",
            *example_lines(self.missing_examples, self.missing),
        ]
        if self.missing:
            lines.append("what to do: clear their tasks, or restore the payloads; gc deletes no row")
        if self.unreadable:
            lines.append(
                f"{self.unreadable} references are unreadable (see `secure-xcom doctor`): payloads that they may "
                "name are kept"
            )
        if self.deleting:
            lines.append(
                f"deleted {self.deleted} ({bytes_text(self.deleted_bytes)}), kept {self.held} (held, or beside an "
                f"unreadable row), {self.alive} turned out to be in use, {self.failed} could not be deleted"
            )
            lines += example_lines(self.failures, self.failed, title="could not be deleted:")
        elif self.orphans:
            lines.append("nothing was deleted: run it with --apply")
        lines += example_lines(self.unlisted, len(self.unlisted), title="could not be listed:")
        lines += example_lines(
            self.refused, len(self.refused), title="the share is too large, so nothing was deleted:"
        )
        if self.refused:
            lines.append("what to do: find out who left so many payloads there; then allow it with --max-share 1")
        for entry in self.stores:
            if entry.get("versioning") in ("enabled", "suspended"):
                lines.append(
                    f"{entry['store']}: versioning is {entry['versioning']}, object lock: {entry['object_lock']}; "
                    "deleted payloads stay as old versions until a lifecycle rule or --all-versions removes them"
                )
        return lines

"""What ``migrate`` and ``migrate-back`` report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from secure_xcom.core.errors import SecureXComError
from secure_xcom.ops.jobs.job import Report
from secure_xcom.ops.jobs.report_text import add_example, example_lines

_NOT_CHANGED = (
    "not changed: task logs, rendered template fields, Airflow's table log, archive tables and backups, which "
    "keep their old content; see `secure-xcom doctor`"
)


@dataclass
class MigrateReport(Report):
    """What a run found and did.

    :cvar verb: what is done to a row.
    :ivar due: rows to convert; :ivar objects: those of them that name an object of Airflow's own backend.
    :ivar changed: overwritten by a task meanwhile; :ivar skipped: references that no pull would open, such as
        expired, exclusive and malformed ones; :ivar skips: some of them, with the reason.
    """

    verb: ClassVar[str]

    applying: bool
    rows: int = 0
    due: int = 0
    objects: int = 0
    converted: int = 0
    changed: int = 0
    skipped: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Return whether anything is left to do."""
        return bool(self.failed or self.changed or self.due > self.converted)

    def skip(self, where: str, error: SecureXComError | None) -> None:
        """Count a reference that no pull would open."""
        self.skipped += 1
        if error is not None:
            add_example(self.skips, f"{where}: {error.what}")

    def fail(self, where: str, error: SecureXComError) -> None:
        """Count a row that stays as it is."""
        self.failed += 1
        add_example(self.failures, f"{where}: {error.what}")

    def lines(self) -> list[str]:
        """See `Report.lines`."""
        lines = [f"{self.rows} rows, {self.due} to be {self.verb} ({self.objects} of them in objects)"]
        if self.skipped:
            lines.append(f"{self.skipped} references stay, because no pull would open them")
            lines += example_lines(self.skips, self.skipped)
        if self.applying:
            lines.append(
                f"{self.verb} {self.converted}, {self.changed} were overwritten meanwhile, {self.failed} failed"
            )
            lines += example_lines(self.failures, self.failed, title="failed:")
        elif self.due:
            lines.append("nothing was changed: run it with --apply")
        return lines


class SealReport(MigrateReport):
    """What ``migrate`` found and did."""

    verb = "migrated"

    def lines(self) -> list[str]:
        """See `Report.lines`."""
        return [
            *super().lines(),
            _NOT_CHANGED,
        ]


class UnsealReport(MigrateReport):
    """What ``migrate-back`` found and did."""

    verb = "migrated back"

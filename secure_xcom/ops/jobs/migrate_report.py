"""What sealing what is there, and unsealing all, tell."""

from __future__ import annotations

from dataclasses import dataclass, field

from secure_xcom.core.errors import SecureXComError
from secure_xcom.ops.jobs.examples import name_one


@dataclass
class MigrateReport:
    """What was found and done.

    :ivar due: rows to be converted; :ivar objects: those of them that name an object of the stock backend.
    :ivar changed: written anew by a task meanwhile; :ivar skipped: references that no pull would open, such as
        expired, exclusive and malformed ones; :ivar skips: some of them, and why.
    """

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
        """Whether anything is left to be done."""
        return bool(self.failed or self.changed or self.due > self.converted)

    def skip(self, where: str, error: SecureXComError | None) -> None:
        """Note a reference that no pull would open."""
        self.skipped += 1
        if error is not None:
            name_one(self.skips, f"{where}: {error.what}")

    def fail(self, where: str, error: SecureXComError) -> None:
        """Note a row that stays as it is."""
        self.failed += 1
        name_one(self.failures, f"{where}: {error.what}")

"""What ``secure-xcom doctor`` finds: one kind of trouble each, how often, a few names, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from secure_xcom.core.errors import SecureXComError
from secure_xcom.ops.jobs.examples import EXAMPLES, name_one


@dataclass
class Ailment:
    """One kind of trouble.

    :ivar kind: a name for scripts, such as ``plaintext-row``.
    :ivar status: ``error`` is a leak or a value that is lost; ``warning`` is what may become one.
    :ivar fix: what ``--fix`` does about it, where that cannot do harm.
    :ivar fixed: whether it did.
    """

    kind: str
    status: Literal["warning", "error"]
    text: str
    remedy: str
    count: int = 1
    examples: list[str] = field(default_factory=list)
    fix: Callable[[], None] | None = None
    fixed: bool = False

    def seen(self, where: str, limit: int) -> None:
        """Once more, here; so many places are named."""
        self.count += 1
        name_one(self.examples, where, limit)


class Ailments:
    """All that was found, by kind.

    :param limit: how many ids of each kind are named.
    """

    def __init__(self, limit: int = EXAMPLES) -> None:
        self.limit = limit
        self.found: dict[str, Ailment] = {}

    def of_row(self, kind: str, status: Literal["warning", "error"], text: str, remedy: str, where: str) -> None:
        """Note one row."""
        if kind not in self.found:
            self.found[kind] = Ailment(kind, status, text, remedy, count=0)
        self.found[kind].seen(where, self.limit)

    def of_error(self, kind: str, error: SecureXComError, where: str) -> None:
        """Note one row that an error was met at."""
        self.of_row(f"{kind}-{type(error).__name__}", "error", error.what, error.remedy, where)

    def add(self, *ailments: Ailment) -> None:
        """Note troubles that are no rows'."""
        for ailment in ailments:
            self.found[f"{ailment.kind} {ailment.text}"] = ailment

    def all(self) -> list[Ailment]:
        """All of it, errors first."""
        return sorted(self.found.values(), key=lambda one: one.status != "error")

"""The evidence of a demo: plain data, for its checks and its output."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secure_xcom.core.reference import Reference, is_reference, parse
from secure_xcom.demo.attackers import Attempt
from secure_xcom.demo.random_values import RandomValues
from secure_xcom.stores.files import FileStore


@dataclass(frozen=True, slots=True)
class XCom:
    """One row with an XCom, as the database gives it, and its object's file."""

    task_id: str
    map_index: int
    row_text: str = field(repr=False)
    file: Path | None

    @classmethod
    def read(cls, task_id: str, map_index: int, row_text: str, store: FileStore, root: Path) -> XCom:
        """Find the object of a row; none for a row that is no reference."""
        value = json.loads(row_text)
        file = None
        if is_reference(value):
            uri = parse(value).head.object
            file = root / uri.removeprefix(f"{store.uri}/") if uri else None
        return cls(task_id, map_index, row_text, file)

    @property
    def name(self) -> str:
        """The task, with its map index if it has one."""
        return f"{self.task_id}[{self.map_index}]" if self.map_index >= 0 else self.task_id

    @property
    def row(self) -> Any:
        """The row's value."""
        return json.loads(self.row_text)

    @property
    def preview(self) -> object:
        """The preview in the row's reference, if it is one."""
        return self.row.get("preview") if is_reference(self.row) else None

    @property
    def reference(self) -> Reference:
        """The row's reference, parsed strictly."""
        return parse(self.row)

    def payload(self) -> bytes:
        """Return the bytes in the store."""
        return self.file.read_bytes() if self.file else b""


@dataclass(frozen=True, slots=True)
class Attack:
    """What somebody did at the database or the store, and how the task that pulled it ended."""

    name: str
    what: str
    expected: str
    state: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Searched:
    """What was looked through for every value that was pushed, and what was found."""

    name: str
    finds: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Theft:
    """What a thief has, what he tries, what it is expected to come to, and what came of it."""

    has: str
    tries: str
    expected: str
    attempt: Attempt


@dataclass(slots=True)
class Evidence:
    """All of it, filled in as the demo goes on."""

    source: RandomValues
    run_state: str = ""
    failures: list[str] = field(default_factory=list)
    xcoms: list[XCom] = field(default_factory=list)
    received: dict[str, Any] = field(default_factory=dict)
    printed: str = ""
    thefts: list[Theft] = field(default_factory=list)
    searched: list[Searched] = field(default_factory=list)
    entropy: float = 0.0
    compressible: bool = True
    attacks: list[Attack] = field(default_factory=list)
    access_log: list[dict[str, Any]] = field(default_factory=list)

    def xcom(self, task_id: str, map_index: int = -1) -> XCom:
        """Return one XCom of the run."""
        return next(xcom for xcom in self.xcoms if (xcom.task_id, xcom.map_index) == (task_id, map_index))

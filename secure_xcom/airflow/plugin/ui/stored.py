"""What the page reads of Airflow's tables, whatever these look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run."""

    id: int
    dag_id: str
    run_id: str
    run_after: datetime


class Place(NamedTuple):
    """The rest of an XCom's primary key, behind its run; with Airflow 3.4's attempt, as hexadecimal digits."""

    task_id: str
    map_index: int
    key: str
    attempt: str = ""

    @property
    def parts(self) -> tuple[str | int, ...]:
        """Return the parts that a position keeps."""
        return tuple(self) if self.attempt else (self.task_id, self.map_index, self.key)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a task instance, in Airflow 3.4 and later.

    :ivar live: the latest one; the others are archived.
    :ivar region_id: of the loop or the expansion that made it; None for a task of neither.
    """

    ti_id: str
    try_number: int
    live: bool
    region_id: str | None
    region_index: int


@dataclass(frozen=True, slots=True)
class Attempts:
    """Which tries are asked for: all that is given must hold. Without any of them it is the live ones."""

    ti_id: UUID | None = None
    try_number: int | None = None
    region_id: UUID | None = None
    region_index: int | None = None


@dataclass(frozen=True, slots=True)
class StoredXCom:
    """A row of the table ``xcom``.

    :ivar text: the value as JSON text, with an inline payload replaced by a few bytes; None where it is too long.
    :ivar tagged: where the text is too long, whether the value is an object with our tag.
    """

    run: Run
    place: Place
    text: str | None = field(repr=False)
    tagged: bool
    written: datetime | None
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True)
class RestWrite:
    """An event of Airflow's audit log.

    :ivar extra: JSON text; it may hold the value that was written, so nobody is to see it.
    """

    event: str
    user: str | None
    time: datetime
    extra: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a text must be: the text itself, or its beginning."""

    text: str
    beginning: bool = False

    @classmethod
    def of(cls, text: str | None) -> Wanted | None:
        """Return what a filter asks for: a text that ends in ``*`` asks for a beginning."""
        if not text:
            return None
        return cls(text[:-1], True) if text.endswith("*") else cls(text)

    def clause(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """Return the condition on a column."""
        return column.startswith(self.text, autoescape=True) if self.beginning else column == self.text


@dataclass(frozen=True, slots=True)
class Narrow:
    """Which XComs of a run are asked for; None is any.

    :ivar attempts: None for every try, archived ones too.
    """

    task_id: Wanted | None = None
    map_index: int | None = None
    key: Wanted | None = None
    attempts: Attempts | None = None

"""A row with an XCom, as maintenance reads it from Airflow's database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from secure_xcom.connections.sql.positions import Position
from secure_xcom.core.codecs.plain_json import from_json
from secure_xcom.core.coordinate import Coordinate


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row with an XCom.

    :ivar text: the value as JSON text as the database gives it; None where it is over TEXT_MAX_CHARACTERS.
    :ivar size: the text's length, in characters or bytes as the database counts.
    :ivar attempt: the UUID of the task instance that it belongs to; None before Airflow 3.4.
    :ivar archived: whether that is an earlier attempt of its task.
    """

    position: Position
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    text: str | None = field(repr=False)
    size: int
    timestamp: datetime | None = None
    attempt: str | None = None
    archived: bool = False

    @property
    def key(self) -> str:
        """The XCom's key."""
        return self.position.key

    @property
    def coordinate(self) -> Coordinate:
        """Return the coordinate of this XCom.

        :raises CoordinateInvalid: an id of the row cannot be one.
        """
        return Coordinate(self.dag_id, self.run_id, self.task_id, self.map_index, self.key)

    @property
    def value(self) -> Any:
        """The value, decoded; None where the text is no JSON or was too long to be read."""
        return decoded(self.text)

    @property
    def where(self) -> str:
        """The row's ids, for people."""
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        attempt = f" (archived attempt {self.attempt})" if self.archived else ""
        text = f"{self.dag_id}/{self.run_id}/{self.task_id}{mapped}:{self.key}{attempt}"
        return text.encode("unicode_escape").decode()

    def is_same_xcom(self, other: StoredRow) -> bool:
        """Return whether it is the same XCom, such as one of Airflow 3.3 and what hides it since the upgrade."""
        if self.position == other.position:
            return True
        return self.attempt is not None and (self.attempt, self.key) == (other.attempt, other.key)


def decoded(text: str | None) -> Any:
    """Parse a value's JSON text as Airflow does; None where it is not JSON."""
    if text is None:
        return None
    try:
        return from_json(text.encode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None

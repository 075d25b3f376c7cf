"""Identify which try or iteration pushed an XCom: from Airflow 3.4 on, they share a coordinate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from secure_xcom.core.errors import AttemptMismatch, CoordinateInvalid

if TYPE_CHECKING:
    from secure_xcom.core.coordinate import Asked, Coordinate

INDEX_MAX = 2**31 - 1
"""Airflow's columns are INTEGERs, and its loops and mappings count to this (models/dynamic_region.py)."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NO_REGION = str(UUID(int=0))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a task instance, and its place in a loop or among the instances of a mapped task.

    None where Airflow does not say: before 3.4, and where a task writes another task's XCom.

    :ivar task_instance_id: the UUID of the task instance. A retry, a clearing and an iteration have their own.
    :ivar region_id: the UUID of the region that the task instance is in: one run of a loop, or one expansion of a
        mapped task. None outside of regions.
    :ivar region_index: its place in that region: the iteration, or the map index.
    :ivar iteration: the iteration of the loop that it is in, mapped or not; None outside of loops.
    :raises CoordinateInvalid: an id is not a UUID in its canonical form, or a region comes without a place in it.
    """

    task_instance_id: str | None = None
    region_id: str | None = None
    region_index: int | None = None
    iteration: int | None = None

    def __post_init__(self) -> None:
        for name in ("task_instance_id", "region_id"):
            value: object = getattr(self, name)
            if value is not None and not (isinstance(value, str) and _UUID.fullmatch(value)):
                raise CoordinateInvalid(
                    f"{name} must be a UUID in lower case with dashes", where=f"{name}={value!r:.80}"
                )
        for name in ("region_index", "iteration"):
            index: object = getattr(self, name)
            if index is None:
                continue
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index <= INDEX_MAX:
                # A number may have more digits than Python prints.
                where = f"{name}={index!r:.80}" if isinstance(index, str | float | bool) else name
                raise CoordinateInvalid(f"{name} must be a whole number from 0 to {INDEX_MAX}", where=where)
        if (self.region_id is None) != (self.region_index is None):
            raise CoordinateInvalid("region_id and region_index are known together or not at all", where=str(self))

    @classmethod
    def of(
        cls,
        task_instance_id: UUID | str | None,
        region_id: UUID | str | None,
        region_index: int | None,
        iteration: int | None = None,
    ) -> Attempt | None:
        """Return the attempt that Airflow's objects describe; None where they say nothing.

        :param iteration: the index of the loop in the task's context.
        :raises CoordinateInvalid: an id is not a UUID.
        """
        ids = [None if text is None else str(text) for text in (task_instance_id, region_id)]
        # Airflow's region of all zeros is the DAG run itself: outside of any loop and mapping.
        if ids[1] is None or ids[1] == _NO_REGION:
            ids[1], region_index = None, None
        nothing = ids == [None, None] and iteration is None
        return None if nothing else cls(ids[0], ids[1], region_index, iteration)

    def head_fields(self, iteration: int | None) -> dict[str, str]:
        """Return the fields of a head that name this attempt.

        :param iteration: `Coordinate.iteration`, which knows whether the region is a loop.
        """
        fields = {
            "attempt": self.task_instance_id,
            "region": self.region_id,
            "region_index": self.region_index,
            "iteration": iteration,
        }
        return {name: str(value) for name, value in fields.items() if value is not None}

    def check(self, asked: Asked, coordinate: Coordinate) -> None:
        """Check that a reference with this attempt is the one that was asked for.

        :raises AttemptMismatch: it is of another try of the task, or of another iteration of the loop.
        """
        # A reference that does not say whose it is was made by a task for another one, or before Airflow 3.4.
        if None not in (asked.attempt, self.task_instance_id) and asked.attempt != self.task_instance_id:
            raise AttemptMismatch(
                "the reference belongs to another try of the task: it was moved, copied or replayed",
                where=f"asked for attempt {asked.attempt} of {asked}, found {self}",
            )
        if None not in (asked.iteration, coordinate.iteration) and asked.iteration != coordinate.iteration:
            raise AttemptMismatch(
                "the reference belongs to another iteration of the loop: it was moved, copied or replayed",
                where=f"asked for iteration {asked.iteration} of {asked}, found {coordinate.iteration}",
            )

    def __str__(self) -> str:
        place = "" if self.region_id is None else f", {self.region_index} of region {self.region_id}"
        return f"attempt {self.task_instance_id or 'unknown'}{place}"

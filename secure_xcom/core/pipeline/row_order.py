"""The order of rows that Airflow gives without saying which is which: loaded where several are pulled at once."""

from __future__ import annotations

from collections.abc import Sequence

from secure_xcom.core.errors import CoordinateMismatch
from secure_xcom.core.pipeline.decide import Admitted
from secure_xcom.sinks.recording import Record


def check_order(admitted: Sequence[Admitted | None], order: int, record: Record) -> None:
    """Check that the rows of one task keep the order of their iterations, and in each that of their map indexes.

    The order is all that Airflow tells of them: a reference that was moved or copied among the instances of a
    mapped task, or among the iterations of a loop, is out of order.

    :param order: 1 for rising, -1 for falling, 0 where none is known.
    :raises CoordinateMismatch: they do not.
    """
    last: tuple[int, int] | None = None
    for position, entry in enumerate(admitted if order else ()):
        if entry is None:
            continue
        coordinate = entry.reference.head.coordinate
        asked = record.drafts[position].asked
        if coordinate.iteration is None and asked is not None and asked.every_iteration:
            # Pushed with `attempt_fields = none`: nothing tells which iteration it is of.
            continue
        # Outside of loops all are of the same.
        here = (-1 if coordinate.iteration is None else coordinate.iteration, coordinate.map_index)
        if last is not None and not (here > last if order > 0 else here < last):
            with record.at(position) as draft:
                raise CoordinateMismatch(
                    f"{_position(here)} comes after {_position(last)}: a reference was moved or copied among the "
                    "instances of a mapped task or the iterations of a loop",
                    where=str(draft.coordinate),
                )
        last = here


def _position(place: tuple[int, int]) -> str:
    iteration, map_index = place
    return f"map_index {map_index}" if iteration < 0 else f"map_index {map_index} of iteration {iteration}"

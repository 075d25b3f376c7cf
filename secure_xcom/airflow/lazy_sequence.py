"""Read a lazy sequence of mapped XComs: several rows with one pull, each checked against its own coordinate.

Only a task that reads one loads this: `secure_xcom.airflow.asked` puts it in the place of Airflow's own reading.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from secure_xcom.airflow.asked import unopened_rows
from secure_xcom.core.coordinate import Asked
from secure_xcom.core.errors import CoordinateMismatch, ReferenceRefused, SecureXComError
from secure_xcom.core.reference import parse

if TYPE_CHECKING:
    from secure_xcom.airflow.asked import Pull
    from secure_xcom.core.pipeline.push_and_pull import Pulled

Place: TypeAlias = "tuple[int | None, int]"
"""Where a row stands in a sequence: its iteration, and its map index."""


def reading(original: Callable[[Any, Any], Any], pull: Pull) -> Callable[[Any, Any], Any]:
    """Return what reads a value or a slice of a lazy sequence.

    Airflow gives the n-th row that there is, and instances that pushed nothing have none. So before the first
    value of a sequence all its rows are looked at, unopened: in their order the map indexes that they name must
    rise, and then it is known which one the n-th has to have.

    A reader that takes one value after the other is read ahead for, in slices that grow to 64 rows or 16 MiB: one
    question to Airflow, one batch to the key service and concurrent gets instead of one of each per value. The
    bytes are those that the values unfold to, as far as can be told from what was read before.

    :param original: Airflow's ``LazyXComSequence.__getitem__``.
    :param pull: opens rows, each checked against its own question.
    """

    def unopened(sequence: Any, key: Any) -> Any:
        with unopened_rows():
            return original(sequence, key)

    def asked_for(
        sequence: Any, key: Any, rows: Sequence[Any], question: Asked
    ) -> tuple[Sequence[Any], list[Asked]]:
        """Return the rows at a place or in a slice, and what each of them has to be."""
        wanted = _wanted(_places.get(question), key)
        if wanted != [peek(row).place for row in rows]:
            # Not looked at yet, or other rows than then: an instance may have pushed since.
            every = unopened(sequence, slice(None))
            places = tuple(peek(row).place for row in every)
            if not _rising(places, loop=question.every_iteration):
                # Refused by the pipeline, which records it, before any of them is opened.
                pull(every, [question] * len(every), 1)
            if len(_places) >= _PLACES_MAX:
                _places.clear()
            _places[question] = places
            wanted = _wanted(places, key)
            if isinstance(key, slice):
                # Airflow's API server gives other rows than a list has where a slice's two ends cross, or one lies
                # past the sequence's own (LIMIT and OFFSET in routes/xcoms.py, get_mapped_xcom_by_slice).
                rows = every[key]
        if wanted is None or len(wanted) != len(rows):
            raise CoordinateMismatch("rows come and go while they are read", where=str(question))
        return rows, [_named(question, place) for place in wanted]

    def ahead(sequence: Any, key: int, rows: Sequence[Any], question: Asked, reader: _Reader) -> list[Any]:
        """Return the value at a place and those of some rows after it; none where that cannot be done at once."""
        peeks = [peek(row) for row in rows]
        rows = rows[: at_once(peeks, reader.unfolds)]
        if len(rows) < 2:
            return []
        rows, questions = asked_for(sequence, slice(key, key + len(rows)), rows, question)
        peeks = [peek(row) for row in rows]
        if at_once(peeks, reader.unfolds) < len(rows):
            return []
        try:
            pulled = pull(rows, questions, 1)
        except SecureXComError:
            # What comes before the one that cannot be opened is given, and then that one is asked for itself.
            return []
        reader.learn(peeks, pulled)
        return [value for value, _ in pulled]

    def read(sequence: Any, key: Any) -> Any:
        question = _question(sequence)
        following: Sequence[Any] = ()
        reader = (
            None if isinstance(key, slice) or key < 0 else _reader(getattr(sequence._ti, "id", None), question)
        )
        if reader is not None:
            count = reader.wants(key)
            if not count:
                return reader.take()
            if count > 1:
                following = unopened(sequence, slice(key, key + count))
                if values := ahead(sequence, key, following, question, reader):
                    reader.keep(values)
                    return reader.take()
                reader.slow_down()
        # Asked for already, where what follows it cannot be pulled with it.
        row_or_rows = following[0] if following else unopened(sequence, key)
        rows = row_or_rows if isinstance(key, slice) else [row_or_rows]
        order = -1 if isinstance(key, slice) and (key.step or 1) < 0 else 1
        rows, questions = asked_for(sequence, key, rows, question)
        pulled = pull(rows, questions, order)
        if reader is not None:
            reader.learn([peek(row_or_rows)], pulled)
        values = [value for value, _ in pulled]
        return values if isinstance(key, slice) else values[0]

    return read


class Peek(NamedTuple):
    """What an unopened row says of itself, before anything of it is proved.

    :ivar map_index: None for a row without a reference.
    :ivar size: bytes of its sealed payload.
    :ivar exclusive: it is claimed by who pulls it, and so never pulled ahead.
    :ivar iteration: that of the loop that pushed it.
    """

    map_index: int | None
    size: int = 0
    exclusive: bool = False
    iteration: int | None = None

    @property
    def place(self) -> Place | None:
        """Return where the row stands in a sequence; None for a row without a reference."""
        return None if self.map_index is None else (self.iteration, self.map_index)


def peek(row: Any) -> Peek:
    """Return what a row says of itself, before anything of it is proved."""
    try:
        reference = parse(row)
    except ReferenceRefused:
        return Peek(None)
    coordinate, exclusive = reference.head.coordinate, reference.head.exclusive is not None
    return Peek(coordinate.map_index, reference.size, exclusive, coordinate.iteration)


AHEAD_ROWS, AHEAD_BYTES = 64, 16 << 20


def at_once(peeks: Sequence[Peek], unfolds: float = 1) -> int:
    """Return how many of the rows, from the first on, may be pulled at once.

    :param unfolds: how many bytes one of a payload becomes.
    """
    total = 0.0
    for count, row in enumerate(peeks):
        total += row.size * unfolds
        if row.exclusive or total > AHEAD_BYTES:
            return count
    return len(peeks)


class _Reader:
    """Who reads a sequence, where they are, and what was read ahead for them."""

    def __init__(self) -> None:
        self._next = 0
        self._count = 0
        self._values: deque[Any] = deque()
        self.unfolds = 1.0
        """How many bytes one of a payload became, of the value that unfolded most."""

    def learn(self, peeks: Sequence[Peek], pulled: Sequence[Pulled]) -> None:
        """Note how much larger values are than their payloads."""
        for row, (_, size) in zip(peeks, pulled, strict=True):
            if row.size:
                self.unfolds = max(self.unfolds, size / row.size)

    def wants(self, key: int) -> int:
        """Return how many values to pull now, for the one at this place; 0 where it is there already."""
        if key != self._next:
            self._count = 0
            self._values.clear()
        self._next = key + 1
        if self._values:
            return 0
        self._count = min(max(1, 2 * self._count), AHEAD_ROWS)
        return self._count

    def keep(self, values: list[Any]) -> None:
        """Keep what was pulled. Each value is given once, so that whoever reads again reads anew."""
        self._values.extend(values)

    def slow_down(self) -> None:
        """Begin anew with one at a time."""
        self._count = 1

    def take(self) -> Any:
        """Return the next value."""
        return self._values.popleft()


_readers: dict[tuple[int, object, Asked], _Reader] = {}
_READERS_MAX = 8


def _reader(task: object, question: Asked) -> _Reader:
    """Return the reader of a sequence on this thread, for one task instance's try.

    A process may run several tasks (`dag.test()`); what was pulled for one was decided and recorded for it alone.
    """
    mine = (threading.get_ident(), task, question)
    reader = _readers.get(mine)
    if reader is None:
        if len(_readers) >= _READERS_MAX:
            _readers.clear()
        # Kept here as well, because another thread may clear them now.
        reader = _readers[mine] = _Reader()
    return reader


# What the rows of each sequence named when all of them were looked at; a task has few sequences.
_places: dict[Asked, tuple[Place | None, ...]] = {}
_PLACES_MAX = 64


def _question(sequence: Any) -> Asked:
    """Return what a sequence asks for, with what its task knows of the answer."""
    source, instance = sequence._xcom_arg.operator, sequence._ti
    question = Asked(source.dag_id, source.task_id, sequence._xcom_arg.key, instance.run_id)
    if getattr(instance, "region_id", None) is None:
        # Before Airflow 3.4 no two task instances share a coordinate.
        return question
    from secure_xcom.airflow.loops import reach

    return reach(question, instance, previous=sequence._previous_iteration, several=True)


def _named(question: Asked, place: Place | None) -> Asked:
    iteration, map_index = place or (None, None)
    known = question.iteration
    return replace(question, map_index=map_index, iteration=iteration if known is None else known)


def _wanted(places: Sequence[Place | None] | None, key: Any) -> list[Place | None] | None:
    """Return the places in a sequence or in a slice of it, as a list has them."""
    if places is None:
        return None
    if isinstance(key, slice):
        return list(places[key])
    return [places[key]] if -len(places) <= key < len(places) else None


def _rising(places: Sequence[Place | None], *, loop: bool) -> bool:
    """Check that iterations rise, and map indexes in each; as `secure_xcom.core.pipeline.decide.check_order`."""
    known = [
        (-1 if place[0] is None else place[0], place[1])
        for place in places
        if place is not None and not (loop and place[0] is None)
    ]
    return all(earlier < later for earlier, later in pairwise(known))

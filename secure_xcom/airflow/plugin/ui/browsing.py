"""The page under Browse: XComs of many runs, the newest first, by a scan that stops at a bound and says where.

Airflow's tables have no index for what people ask for (a state, a compartment, a key in any run). So runs are
taken in the order of an index, and their XComs by the primary key, until the answer is full or enough was looked
at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from secure_xcom.airflow.plugin.ui.cursors import decoded, encoded
from secure_xcom.airflow.plugin.ui.looking import State, XCom, look
from secure_xcom.airflow.plugin.ui.stored import Narrow, Place, Run, StoredXCom, Wanted
from secure_xcom.airflow.plugin.ui.tables import Tables
from secure_xcom.airflow.plugin.ui.times import text_of
from secure_xcom.core.access_policy.policy import AccessPolicy

RUNS_MAX = 200
ROWS_MAX = 400
"""What one answer looks at, at the most."""

_RUNS_AT_ONCE = 32
_OF_EACH, _OF_ONE = 100, 500
"""Rows that are fetched of each run of a batch, and then of one that has more."""
_KINDS = (int, int, str, int, str, str)
_FIRST = Place("", -2, "")
"""Before every XCom of a run."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked for; None is anything."""

    dag_ids: Collection[str]
    run_id: Wanted | None = None
    task_id: Wanted | None = None
    key: Wanted | None = None
    compartment: str | None = None
    state: State | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def looks_into_values(self) -> bool:
        """Return whether rows must be read to know whether they are asked for."""
        return self.compartment is not None or self.state is not None

    def takes(self, xcom: XCom) -> bool:
        """Return whether an XCom is asked for, as far as its value says."""
        return (self.state is None or xcom.state == self.state) and (
            self.compartment is None or xcom.compartment_name == self.compartment
        )


@dataclass(frozen=True, slots=True)
class Page:
    """An answer: the XComs, where the next one begins, and how far was looked."""

    xcoms: list[XCom]
    next: str | None
    runs: int
    rows: int
    back_to: datetime | None

    def looked(self) -> dict[str, Any]:
        """Return how far was looked, as the page has it."""
        return {"runs": self.runs, "rows": self.rows, "back_to": text_of(self.back_to), "all": self.next is None}


@dataclass(frozen=True, slots=True)
class _Position:
    """The run to go on with, and the XCom in it to go on behind; None: from its first one."""

    run_after: datetime
    run: int
    behind: Place | None = None

    def text(self) -> str:
        since = self.run_after - _EPOCH
        microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        return encoded((microseconds, self.run, *(self.behind or _FIRST).parts))


def browse(
    tables: Tables, policy: AccessPolicy | None, filters: Filters, *, after: str | None, limit: int
) -> Page:
    """Return a page of XComs.

    :param after: the ``next`` of the answer before.
    :raises RequestInvalid: ``after`` is none.
    """
    return _Scan(tables, lambda stored: look(stored, policy), filters, limit).run(_position(after))


class _Scan:
    """One answer's scan.

    :param look_at: says what a row is.
    """

    def __init__(
        self, tables: Tables, look_at: Callable[[StoredXCom], XCom], filters: Filters, limit: int
    ) -> None:
        self._tables = tables
        self._look_at = look_at
        self._filters = filters
        self._limit = limit
        self._found: list[XCom] = []
        self._runs = self._rows = 0
        key = filters.key
        self._among = tables.runs_with(key.text) if key is not None and not key.beginning else None

    def run(self, start: _Position | None) -> Page:
        """Take rows until the answer is full, enough was looked at, or nothing is left."""
        position, back_to = start, None
        for run, row in self._in_order(start):
            if row is None:
                position = start if start is not None and start.run == run.id else _Position(run.run_after, run.id)
                if self._runs >= RUNS_MAX:
                    return self._page(position, back_to)
                back_to = run.run_after
                self._runs += 1
                continue
            if len(self._found) == self._limit or self._rows >= ROWS_MAX:
                return self._page(position, back_to)
            self._rows += 1
            position = _Position(run.run_after, run.id, row.place)
            xcom = self._look_at(row)
            if self._filters.takes(xcom):
                self._found.append(xcom)
        return self._page(None, back_to)

    def _page(self, position: _Position | None, back_to: datetime | None) -> Page:
        text = None if position is None else position.text()
        return Page(self._found, text, self._runs, self._rows, back_to)

    def _in_order(self, start: _Position | None) -> Iterator[tuple[Run, StoredXCom | None]]:
        """Yield each run, with None before its rows and then with each row."""
        behind = None
        for runs in self._batches(start):
            if start is not None and runs[0].id == start.run:
                behind = start.behind
            rows: dict[int, list[StoredXCom]] = {run.id: [] for run in runs}
            for row in self._fetch(runs, behind, _OF_EACH):
                rows[row.run.id].append(row)
            behind = None
            for run in runs:
                yield run, None
                page, size = rows[run.id], _OF_EACH
                while page:
                    for row in page:
                        yield run, row
                    if len(page) < size:
                        break
                    size = _OF_ONE
                    page = self._fetch([run], page[-1].place, size)

    def _fetch(self, runs: Sequence[Run], behind: Place | None, size: int) -> list[StoredXCom]:
        wanted = self._filters
        narrow = Narrow(wanted.task_id, key=wanted.key)
        return self._tables.of_runs(runs, narrow, after=behind, limit=size)

    def _batches(self, start: _Position | None) -> Iterator[list[Run]]:
        """Yield runs in order, few at first: the newest runs often fill the answer."""
        wanted = self._filters
        begin = None if start is None else (start.run_after, start.run)
        size, last = 2, None
        while True:
            # The run that a batch ended with begins the next one, and is left out there.
            limit = size + (last is not None)
            runs = self._tables.runs(
                wanted.dag_ids,
                run_id=wanted.run_id,
                since=wanted.since,
                until=wanted.until,
                start=begin,
                limit=limit,
                among=self._among,
            )
            new = [run for run in runs if run.id != last]
            if new:
                yield new
            if len(runs) < limit or not new:
                return
            begin, last = (new[-1].run_after, new[-1].id), new[-1].id
            size = min(size * 4, _RUNS_AT_ONCE)


def _position(after: str | None) -> _Position | None:
    parts = decoded(after, _KINDS, optional=1)
    if parts is None:
        return None
    microseconds, run, *place = parts
    try:
        moment = datetime.fromtimestamp(int(microseconds or 0) // 1_000_000, timezone.utc)
        moment = moment.replace(microsecond=int(microseconds or 0) % 1_000_000)
    except (ValueError, OverflowError, OSError):
        moment = _EPOCH
    behind = Place(*place)  # type: ignore[arg-type]  # the kinds are checked
    return _Position(moment, int(run or 0), None if behind == _FIRST else behind)

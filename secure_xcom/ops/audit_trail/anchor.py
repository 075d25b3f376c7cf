"""Anchor events: copy those of chains that have ended or gone quiet into the anchored log, each once.

An interrupted run is finished by the next one, and anchored events are skipped. Memory is bounded by one batch and
by the events that are too young.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from secure_xcom.core import clock
from secure_xcom.core.clock import text_of, time_of
from secure_xcom.core.event_chain import FIRST, QUIET_SECONDS
from secure_xcom.core.findings import Finding
from secure_xcom.ops.audit_trail import entries
from secure_xcom.ops.audit_trail.entries import Entry
from secure_xcom.ops.audit_trail.pieces import RawLine, Source
from secure_xcom.ops.audit_trail.read import raw_lines
from secure_xcom.ops.audit_trail.tlog.anchor_record import Anchor, ChainEnd, source_name
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
from secure_xcom.ops.audit_trail.tlog.layout import ENTRY_MAX_BYTES
from secure_xcom.ops.audit_trail.tlog.note import Signer

BATCH_ENTRIES = 32_768
"""The most entries of one anchor: about 25 MB, and a whole number of bundles."""

# How far the clocks of workers and of this machine may differ before an anchor is not found.
_CLOCKS = timedelta(days=1)


@dataclass(slots=True)
class Anchored:
    """What a run did.

    :ivar seals: how many anchors it made. :ivar size: the number of entries in the log.
    :ivar resumed: whether it first finished an anchor that another run had begun.
    :ivar waiting: how many events are too young.
    :ivar unsealable: lines that do not continue their chain, so that they and the lines after them are not
    anchored.
    """

    entries: int = 0
    seals: int = 0
    size: int = 0
    resumed: bool = False
    waiting: int = 0
    unsealable: list[Finding] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        lines = [
            {"place": problem.subject, **problem.record("line", "chain", "text")} for problem in self.unsealable
        ]
        return {**asdict(self), "unsealable": lines}


def anchor(
    log: AnchoredLog,
    sources: Sequence[Source],
    signer: Signer,
    *,
    quiet_seconds: float = QUIET_SECONDS,
    batch_entries: int = BATCH_ENTRIES,
    now: Callable[[], datetime] = clock.now,
) -> Anchored:
    """Anchor the events that are old enough, and those of chains that have ended.

    :raises SealRaced: another process anchors; what this one had anchored before that counts.
    :raises SealedLogError: the log cannot be extended; :raises AccessLogUnreadable: a source cannot be read.
    """
    done = Anchored()
    log.tidy()
    if (begun := log.begun()) is not None:
        log.finish(*begun, signer)
        done.resumed = True
        done.seals += 1
        done.entries += len(begun[1])
    moment = now()
    horizon = text_of(moment - timedelta(seconds=quiet_seconds))
    number, head = log.newest()
    done.size = head.size
    selection = _Selection(log, horizon)
    last: dict[str, Entry] = {}
    batch: list[bytes] = []
    names = tuple(source_name(socket.gethostname(), source.uri) for source in sources)

    def write(until: str) -> None:
        nonlocal number
        number += 1
        chains = {chain: ChainEnd(entry.sequence + 1, entry.hash, entry.ends) for chain, entry in last.items()}
        made = Anchor(number, done.size, done.size + len(batch), text_of(moment), chains, names, until)
        log.begin(made, batch)
        done.size = log.finish(made, batch, signer).size
        done.seals += 1
        done.entries += len(batch)
        last.clear()
        batch.clear()

    for data, entry in selection.ready(raw_lines(sources)):
        if len(batch) == batch_entries:
            write("")
        batch.append(data)
        last[entry.chain] = entry
    if batch:
        write(horizon)
    done.waiting, done.unsealable = selection.waiting, selection.unsealable
    return done


def plan(
    log: AnchoredLog,
    sources: Sequence[Source],
    *,
    quiet_seconds: float = QUIET_SECONDS,
    now: Callable[[], datetime] = clock.now,
) -> Anchored:
    """Return what `anchor` would do, and change nothing. Entries of an interrupted run count as to be anchored.

    :raises SealedLogError: the log cannot be read; :raises AccessLogUnreadable: a source cannot be read.
    """
    planned = Anchored(size=log.newest()[1].size)
    selection = _Selection(log, text_of(now() - timedelta(seconds=quiet_seconds)))
    planned.entries = sum(1 for _ in selection.ready(raw_lines(sources)))
    planned.waiting, planned.unsealable = selection.waiting, selection.unsealable
    return planned


class _Selection:
    """Select, in order, the lines that continue a chain after its anchored part and are ready to be anchored."""

    def __init__(self, log: AnchoredLog, horizon: str) -> None:
        self.unsealable: list[Finding] = []
        self._log = log
        self._horizon = horizon
        self._known: dict[str, ChainEnd] = {}
        # The next number of chains that have ended, which nothing continues: a third of the memory of their ends.
        self._ended: dict[str, int] = {}
        self._young: dict[str, list[tuple[bytes, Entry]]] = {}
        self._broken: set[str] = set()
        self._anchors: Iterator[Anchor] | None = None
        self._looked_back_to = "~"
        self._oldest = ""

    @property
    def waiting(self) -> int:
        return sum(len(lines) for lines in self._young.values())

    def ready(self, lines: Iterable[RawLine]) -> Iterator[tuple[bytes, Entry]]:
        for line in lines:
            entry = entries.read(line.data) if line.whole else None
            if entry is None:
                # This is a damaged or half-written line, which `verify` reports.
                continue
            self._oldest = self._oldest or entry.time
            if not self._continues(line, entry):
                continue
            if entry.ends or entry.time <= self._horizon:
                if self._young:
                    yield from self._young.pop(entry.chain, ())
                yield line.data, entry
            else:
                self._young.setdefault(entry.chain, []).append((line.data, entry))

    def _continues(self, line: RawLine, entry: Entry) -> bool:
        chain, sequence = entry.chain, entry.sequence
        if chain in self._broken:
            return False
        end = self._known.get(chain)
        if end is None:
            self._look_back(chain)
            ended_at = self._ended.get(chain)
            if ended_at is not None:
                return sequence >= ended_at and self._break(line, entry, "does not continue its chain")
            end = self._known.get(chain)
        # The start of a chain that is older than the oldest file was rotated away before it was anchored.
        cut = end is None and sequence > 0 and entries.begun(chain) < self._oldest
        following, last = (end.following, end.last) if end else (0, FIRST)
        if sequence < following:
            return False
        if not cut and (sequence != following or entry.previous != last):
            return self._break(line, entry, "does not continue its chain")
        if len(line.data) > ENTRY_MAX_BYTES:
            return self._break(line, entry, f"is over {ENTRY_MAX_BYTES} bytes")
        self._note(chain, ChainEnd(sequence + 1, entry.hash, entry.ends))
        return True

    def _note(self, chain: str, end: ChainEnd) -> None:
        if end.ended:
            self._known.pop(chain, None)
            self._ended[chain] = end.following
        else:
            self._known[chain] = end

    def _break(self, line: RawLine, entry: Entry, problem: str) -> bool:
        self._broken.add(entry.chain)
        self.unsealable.append(
            Finding(
                line.place,
                "error",
                f"event {entry.sequence} {problem}",
                "run `secure-xcom audit verify` to find out what was changed",
                rule="unsealable",
                line=line.number,
                details={"chain": entry.chain},
            )
        )
        return False

    def _look_back(self, chain: str) -> None:
        """Read how far chains are anchored, back to the anchors from before this chain was begun."""
        # Once the oldest anchor was read there is nothing to look for.
        if not self._looked_back_to or chain in self._known or chain in self._ended:
            return
        begun = text_of(time_of(entries.begun(chain)) - _CLOCKS)
        if begun >= self._looked_back_to:
            return
        if self._anchors is None:
            self._anchors = self._log.anchors_newest_first()
        while begun < self._looked_back_to:
            earlier = next(self._anchors, None)
            self._looked_back_to = "" if earlier is None else earlier.time
            for name, end in (earlier.chains if earlier else {}).items():
                # The newest anchor that names a chain says how far it is anchored.
                if name not in self._known and name not in self._ended:
                    self._note(name, end)

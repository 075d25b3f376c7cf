"""Sealing: events of chains that have ended or gone quiet are copied into the sealed log, each once.

Resumable: what a crash has cut is finished first, and what is sealed already is passed over. Memory stays bounded
by one batch and by the events that are too young to be sealed.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from secure_xcom.core import clock
from secure_xcom.core.clock import text_of, time_of
from secure_xcom.core.event_chain import FIRST
from secure_xcom.ops.audit_trail import entries
from secure_xcom.ops.audit_trail.entries import Entry
from secure_xcom.ops.audit_trail.read import RawLine, Source, raw_lines
from secure_xcom.ops.audit_trail.tlog.anchored_log import Anchor, AnchoredLog, ChainEnd, source_name
from secure_xcom.ops.audit_trail.tlog.layout import ENTRY_MAX_BYTES
from secure_xcom.ops.audit_trail.tlog.note import Signer

QUIET_SECONDS = 300
"""How old an event must be to be sealed while its chain has not ended."""

BATCH_ENTRIES = 32_768
"""Entries of one seal at the most: some 25 MB, and a whole number of bundles."""

# Clocks of workers and of this machine may differ by so much before a seal is looked for in vain.
_CLOCKS = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Unsealable:
    """A line that does not continue its chain, so that it and what follows it is not sealed."""

    place: str
    line: int
    chain: str
    text: str


@dataclass(slots=True)
class Anchored:
    """What a run of sealing did.

    :ivar resumed: whether it first finished a seal that another run had begun.
    :ivar waiting: events that are too young.
    """

    entries: int = 0
    seals: int = 0
    size: int = 0
    resumed: bool = False
    waiting: int = 0
    unsealable: list[Unsealable] = field(default_factory=list)


def anchor(
    log: AnchoredLog,
    sources: Sequence[Source],
    signer: Signer,
    *,
    quiet_seconds: float = QUIET_SECONDS,
    batch_entries: int = BATCH_ENTRIES,
    now: Callable[[], datetime] = clock.now,
) -> Anchored:
    """Seal what is ripe.

    :raises SealRaced: another process seals; what this one had sealed before it noticed counts.
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
    gathered = _Gathering(log, horizon, done)
    chains: dict[str, ChainEnd] = {}
    batch: list[bytes] = []
    names = tuple(source_name(socket.gethostname(), one.uri) for one in sources)

    def write(until: str) -> None:
        nonlocal number
        number += 1
        made = Anchor(number, done.size, done.size + len(batch), text_of(moment), dict(chains), names, until)
        log.begin(made, batch)
        done.size = log.finish(made, batch, signer).size
        done.seals += 1
        done.entries += len(batch)
        chains.clear()
        batch.clear()

    for data, entry in gathered.ripe(raw_lines(sources)):
        if len(batch) == batch_entries:
            write("")
        batch.append(data)
        chains[entry.chain] = ChainEnd(entry.sequence + 1, entry.hash, entry.ends)
    if batch:
        write(horizon)
    done.waiting = gathered.waiting
    return done


class _Gathering:
    """Picks from lines, in their order, those that continue a chain behind what is sealed of it and are ripe."""

    def __init__(self, log: AnchoredLog, horizon: str, done: Anchored) -> None:
        self._log = log
        self._horizon = horizon
        self._done = done
        self._known: dict[str, ChainEnd] = {}
        self._young: dict[str, list[tuple[bytes, Entry]]] = {}
        self._broken: set[str] = set()
        self._seals: Iterator[Anchor] | None = None
        self._looked_back_to = "~"
        self._oldest = ""

    @property
    def waiting(self) -> int:
        return sum(len(lines) for lines in self._young.values())

    def ripe(self, lines: Iterable[RawLine]) -> Iterator[tuple[bytes, Entry]]:
        for line in lines:
            entry = entries.read(line.data) if line.whole else None
            if entry is None:
                # A half-written line; verify tells what it is.
                continue
            self._oldest = self._oldest or entry.time
            if not self._continues(line, entry):
                continue
            young = self._young.get(entry.chain, [])
            young.append((line.data, entry))
            if entry.ends or entry.time <= self._horizon:
                self._young.pop(entry.chain, None)
                yield from young
            else:
                self._young[entry.chain] = young

    def _continues(self, line: RawLine, entry: Entry) -> bool:
        if entry.chain in self._broken:
            return False
        self._look_back(entry.chain)
        end = self._known.get(entry.chain)
        # The beginning of a chain that is older than the oldest file was rotated away before it was sealed.
        cut = end is None and entry.sequence > 0 and entries.begun(entry.chain) < self._oldest
        following, last = (end.following, end.last) if end else (0, FIRST)
        if entry.sequence < following:
            return False
        ended = end is not None and end.ended
        if not cut and (ended or (entry.sequence, entry.previous) != (following, last)):
            return self._break(line, entry, "does not continue its chain")
        if len(line.data) > ENTRY_MAX_BYTES:
            return self._break(line, entry, f"is over {ENTRY_MAX_BYTES} bytes")
        self._known[entry.chain] = ChainEnd(entry.sequence + 1, entry.hash, entry.ends)
        return True

    def _break(self, line: RawLine, entry: Entry, text: str) -> bool:
        self._broken.add(entry.chain)
        text = f"event {entry.sequence} {text}"
        self._done.unsealable.append(Unsealable(line.place, line.number, entry.chain, text))
        return False

    def _look_back(self, chain: str) -> None:
        """Read how far chains are sealed, back to the seals from before this one was begun."""
        if chain in self._known:
            return
        begun = text_of(time_of(entries.begun(chain)) - _CLOCKS)
        if begun >= self._looked_back_to:
            return
        if self._seals is None:
            self._seals = self._log.seals_newest_first()
        while begun < self._looked_back_to:
            found = next(self._seals, None)
            self._looked_back_to = "" if found is None else found.time
            for name, end in (found.chains if found else {}).items():
                # The newest seal of a chain says how far it got.
                self._known.setdefault(name, end)

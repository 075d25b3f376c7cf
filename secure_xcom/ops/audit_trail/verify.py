"""Verify the anchored log by itself, and the sinks' events against their chains and against the log.

There are two passes. The first reads everything once and only notes which chains are not exactly as they were
written. The second reads the lines of those chains again and finds out what was done to them
(`secure_xcom.ops.audit_trail.tamper_diagnosis`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from secure_xcom.core import clock
from secure_xcom.core.clock import text_of, time_of
from secure_xcom.core.event_chain import FIRST, QUIET_SECONDS
from secure_xcom.core.findings import Finding
from secure_xcom.ops.audit_trail import entries
from secure_xcom.ops.audit_trail.chain_ends import AnchoredEnd, ChainEnds
from secure_xcom.ops.audit_trail.entries import Entry
from secure_xcom.ops.audit_trail.log_findings import log_finding
from secure_xcom.ops.audit_trail.pieces import RawLine, Source
from secure_xcom.ops.audit_trail.tamper_diagnosis import Seen, explain
from secure_xcom.ops.audit_trail.tlog.anchor_record import source_name
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
from secure_xcom.ops.audit_trail.verify_log import LogState, anchored_entries, check_log

SLACK = timedelta(seconds=60)
"""How much later than its time an event may be written before that is suspicious."""


@dataclass(slots=True)
class Verified:
    """The result of a verification.

    :ivar open: chains that are being written: they have no end, and an event younger than the quiet time.
    :ivar sealed: entries of the anchored log; :ivar pruned: how many of them were pruned.
    """

    events: int = 0
    chains: int = 0
    open: int = 0
    sealed: int = 0
    pruned: int = 0
    found: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class _ChainState:
    following: int
    last: str
    ended: bool
    time: str
    place: str
    line: int
    end: AnchoredEnd | None


def verify(
    sources: Sequence[Source],
    log: AnchoredLog | None,
    *,
    trusted: Sequence[tuple[str, bytes]] = (),
    quiet_seconds: float = QUIET_SECONDS,
    now: Callable[[], datetime] = clock.now,
    progress: Callable[[str, int, int], None] | None = None,
) -> Verified:
    """Verify sinks, and the anchored log if there is one.

    :param trusted: the notes of checkpoints kept elsewhere, each with its place.
    :param progress: called with a name, and the entries or bytes read so far and in all.
    :raises AccessLogUnreadable: a sink cannot be read; :raises StoreError, SealedLogInvalid: the log cannot be.
    """
    done = Verified()
    state = None
    report = progress or _ignore
    if log is not None:
        state = check_log(log, trusted, lambda read, total: report("anchored log", read, total))
        done.found += state.found
        done.sealed, done.pruned = state.head.size, state.pruned
    quiet = text_of(now() - timedelta(seconds=quiet_seconds))
    covered = _covered(sources, state)
    checks = [
        _SourceCheck(source, log, state, quiet, report, until)
        for source, until in zip(sources, covered, strict=True)
    ]
    for check in checks:
        result = check.run()
        done.events += result.events
        done.chains += result.chains
        done.open += result.open
        done.found += result.found
    # If other sinks are anchored in this log too, it holds chains that these sinks never had.
    if state is not None and all(covered) and len(sources) >= len(state.covered):
        done.found += _whole_chains(checks, state)
    return done


def _ignore(_what: str, _done: int, _total: int) -> None:
    return


def _covered(sources: Sequence[Source], state: LogState | None) -> list[str]:
    """Return the time before which each source was anchored completely; empty for one that never was."""
    known = state.covered if state else {}
    if len(sources) == len(known) == 1:
        # The files may be a copy in another place.
        return list(known.values())
    return [known.get(source_name(socket.gethostname(), source.uri), "") for source in sources]


def _whole_chains(checks: Sequence[_SourceCheck], state: LogState) -> Iterator[Finding]:
    """Return the anchored chains that are in no sink although the sinks reach back that far."""
    reaches = [reach for check in checks if (reach := check.reaches_back_to) is not None]
    if not reaches:
        return
    oldest = min(reaches, key=lambda end: end.ends_at)
    since = text_of(time_of(oldest.time) + SLACK)
    missing = [
        (chain, end)
        for chain, end in state.chains.items()
        if end.ends_at > oldest.ends_at and since < end.time and not any(check.has(chain) for check in checks)
    ]
    for chain, end in sorted(missing, key=lambda each: each[1].begins_at):
        text = f"a whole chain of {end.following - end.first} anchored events is missing"
        yield log_finding("removed", text, checks[0].source.uri, None, chain, end.first)


class _SourceCheck:
    """The check of one sink in two passes."""

    def __init__(
        self,
        source: Source,
        log: AnchoredLog | None,
        state: LogState | None,
        quiet: str,
        progress: Callable[[str, int, int], None],
        covered: str,
    ) -> None:
        self.source = source
        self._log = log
        self._state = state
        self._done = Verified()
        self._quiet = quiet
        self._progress = progress
        self._anchored = state.chains if state else ChainEnds()
        # All events from before this time were anchored.
        self._late = text_of(time_of(covered) - SLACK) if covered else ""
        self._chains: dict[str, _ChainState] = {}
        # Chains that were read up to the end that the anchored log has, by the index of their last entry. They are
        # nearly all, and a byte for each is a hundredth of what a key and a state take.
        self._complete = bytearray(state.head.size if state else 0)
        self._unpruned = text_of(time_of(state.pruned_before) + SLACK) if state and state.pruned else ""
        self._suspicious: set[str] = set()
        # Chains whose first stored line is not their first event.
        self._headless: set[str] = set()
        self._oldest = ""
        self.reaches_back_to: AnchoredEnd | None = None
        """How far back the sink reaches: of its anchored chains the one whose last entry was anchored first."""

    def run(self) -> Verified:
        """Return the findings and numbers of this sink."""
        pieces = self.source.pieces()
        total, read = sum(piece.size for piece in pieces), 0
        for piece in pieces:
            for line in piece.lines():
                self._take(line)
            read += piece.size
            self._progress(self.source.uri, read, total)
        for state in self._chains.values():
            self._reach_back_to(state.end)
        self._suspicious.update(chain for chain in self._headless if not self._begins_late(chain))
        self._cut_chains()
        if self._suspicious:
            self._explain()
        for chain, state in self._chains.items():
            if not state.ended and chain not in self._suspicious:
                self._report_open(chain, state)
        self._done.chains = len(self._chains) + self._complete.count(1)
        return self._done

    def has(self, chain: str) -> bool:
        """Return whether the sink has a line of a chain."""
        end = self._anchored.get(chain)
        return chain in self._chains or (end is not None and self._is_complete(end))

    def _is_complete(self, end: AnchoredEnd) -> bool:
        return self._complete[end.ends_at] == 1

    def _reach_back_to(self, end: AnchoredEnd | None) -> None:
        oldest = self.reaches_back_to
        if end is not None and (oldest is None or end.ends_at < oldest.ends_at):
            self.reaches_back_to = end

    def _take(self, line: RawLine) -> None:
        entry = entries.read(line.data)
        if entry is None:
            finding = (
                log_finding("half_written", "the start of an event", line.place, line.number)
                if entries.is_half_written(line.data)
                else log_finding("malformed", "not an event", line.place, line.number)
            )
            self._done.found.append(finding)
            return
        self._done.events += 1
        self._oldest = self._oldest or entry.time
        known = self._chains.get(entry.chain)
        if known is None:
            end = self._anchored.get(entry.chain)
            if end is not None and self._is_complete(end):
                # Nothing may follow an end, or be there twice.
                self._suspicious.add(entry.chain)
                return
            if entry.sequence > 0:
                self._headless.add(entry.chain)
            elif entry.previous != FIRST:
                self._suspicious.add(entry.chain)
        else:
            end = known.end
            if known.ended or entry.sequence != known.following or entry.previous != known.last:
                self._suspicious.add(entry.chain)
        self._compare_with_log(entry, line, end)
        if end is not None and end.ended and entry.ends and end.following == entry.sequence + 1:
            self._complete[end.ends_at] = 1
            self._reach_back_to(end)
            self._chains.pop(entry.chain, None)
        elif known is None:
            self._chains[entry.chain] = _ChainState(
                entry.sequence + 1, entry.hash, entry.ends, entry.time, line.place, line.number, end
            )
        elif entry.sequence >= known.following:
            known.following, known.last, known.ended = entry.sequence + 1, entry.hash, entry.ends
            known.time, known.place, known.line = entry.time, line.place, line.number

    def _begins_late(self, chain: str) -> bool:
        """Check whether a chain's start may have been rotated away.

        The anchored log says how far back the sink reaches: a forged first line can have any time, and would make
        the start of every chain look older than the file.
        """
        reach, end = self.reaches_back_to, self._anchored.get(chain)
        if reach is None:
            return entries.begun(chain) < self._oldest
        return entries.begun(chain) < reach.time or (end is not None and end.begins_at < reach.ends_at)

    def _compare_with_log(self, entry: Entry, line: RawLine, end: AnchoredEnd | None) -> None:
        if end is None or entry.sequence >= end.following:
            if end is not None and end.ended:
                # Nothing may follow an end, also where the end's line was rotated away.
                self._suspicious.add(entry.chain)
            elif self._unpruned < entry.time < self._late:
                # An event from before the last anchor that is not in the log was written, or dated, afterwards.
                text = "older than the last anchor and not anchored: written later, or the clock was set back"
                self._done.found.append(
                    log_finding("unsealed", text, line.place, line.number, entry.chain, entry.sequence)
                )
        elif entry.sequence == end.following - 1 and entry.hash != end.last:
            self._suspicious.add(entry.chain)

    def _cut_chains(self) -> None:
        """Note the chains that were anchored further than the sink's lines reach."""
        for chain, state in self._chains.items():
            if state.end is not None and state.following < state.end.following:
                self._suspicious.add(chain)

    def _explain(self) -> None:
        lines: dict[str, list[Seen]] = {chain: [] for chain in self._suspicious}
        for piece in self.source.pieces():
            for line in piece.lines():
                entry = entries.read(line.data)
                if entry is not None and entry.chain in lines:
                    lines[entry.chain].append(Seen(line.place, line.number, entry))
        wanted = {chain for chain in self._suspicious if chain in self._anchored}
        anchored = anchored_entries(self._log, self._state, wanted) if self._log and self._state and wanted else {}
        for chain in sorted(self._suspicious):
            end = self._anchored.get(chain)
            self._done.found += explain(
                chain,
                lines[chain],
                anchored.get(chain, {}),
                begins_late=self._begins_late(chain),
                ended_at=end.following - 1 if end is not None and end.ended else None,
            )

    def _report_open(self, chain: str, state: _ChainState) -> None:
        if state.time > self._quiet:
            self._done.open += 1
            return
        text = "the chain has no end: its process was killed or lost its sinks, or later events were cut off"
        self._done.found.append(
            log_finding("interrupted", text, state.place, state.line, chain, state.following - 1)
        )

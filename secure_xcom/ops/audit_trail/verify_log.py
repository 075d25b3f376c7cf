"""Check the anchored log by itself: every entry against its tile, every tile against the signed roots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from secure_xcom.core.errors import ObjectMissing, StoreError
from secure_xcom.core.event_chain import FIRST
from secure_xcom.core.findings import Finding
from secure_xcom.core.operator_errors import SealedLogInvalid
from secure_xcom.ops.audit_trail import entries
from secure_xcom.ops.audit_trail.chain_ends import AnchoredEnd, ChainEnds
from secure_xcom.ops.audit_trail.log_findings import log_finding
from secure_xcom.ops.audit_trail.tlog.anchor_record import source_named
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
from secure_xcom.ops.audit_trail.tlog.checkpoint import Checkpoint
from secure_xcom.ops.audit_trail.tlog.layout import WIDTH, bundle_path, tile_path
from secure_xcom.ops.audit_trail.tlog.merkle import leaf_hash, root, whole
from secure_xcom.ops.audit_trail.tlog.tiles import Tiles


@dataclass(slots=True)
class LogState:
    """The content of the anchored log.

    :ivar chains: how far each chain is anchored.
    :ivar pruned: the index below which entries were removed, all of them older than :ivar pruned_before:.
    :ivar covered: source -> the time before which all of its events are anchored.
    """

    head: Checkpoint
    found: list[Finding] = field(default_factory=list)
    chains: ChainEnds = field(default_factory=ChainEnds)
    pruned: int = 0
    pruned_before: str = ""
    covered: dict[str, str] = field(default_factory=dict)


def check_log(
    log: AnchoredLog, trusted: Sequence[tuple[str, bytes]], progress: Callable[[int, int], None]
) -> LogState:
    """Check the whole log.

    :param trusted: the notes of checkpoints kept elsewhere, each with its place.
    :param progress: called with the number of entries read so far, and of all.
    :raises StoreError: the store cannot be read; :raises SealedLogInvalid: no checkpoint is signed.
    """
    check = _LogCheck(log)
    check.heads(trusted)
    check.tiles_of_tiles()
    check.entries(progress)
    for anchor in log.anchors_newest_first():
        for source in anchor.sources:
            if anchor.until:
                check.state.covered.setdefault(source_named(source), anchor.until)
    return check.state


class _LogCheck:
    """The check of one log; `state` is its result."""

    def __init__(self, log: AnchoredLog) -> None:
        self._log = log
        self._uri = log.store.uri
        self.state = LogState(Checkpoint.empty(log.origin))
        self._heads = list(self._checkpoints())
        if self._heads:
            self.state.head = max(self._heads, key=lambda head: head.size)
        self.state.pruned, self.state.pruned_before = log.pruned()
        self._tiles: Tiles = log.tiles(self.state.head.size)

    def _report(self, finding: Finding) -> None:
        self.state.found.append(finding)

    def _checkpoints(self) -> Iterator[Checkpoint]:
        numbers = self._log.numbers("checkpoints")
        for number in numbers:
            try:
                yield self._log.checkpoint(number)
            except SealedLogInvalid as error:
                self._report(log_finding("bad_signature", error.what, error.where))
        for number in sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers)):
            place = f"{self._uri}/checkpoints/{number:012}"
            self._report(log_finding("entry_missing", "a checkpoint between others is missing", place))

    def heads(self, trusted: Sequence[tuple[str, bytes]]) -> None:
        """Check the roots of the log's own checkpoints and of those kept elsewhere."""
        roots: dict[int, bytes] = {}
        for head in self._heads:
            known = roots.setdefault(head.size, head.root)
            if known != head.root:
                text = f"two signed checkpoints of {head.size} entries have different roots"
                self._report(log_finding("forked", text, self._uri))
            elif not self._is_root(head):
                text = f"the entries do not match the signed checkpoint of {head.size} entries"
                self._report(log_finding("tree_changed", text, self._uri))
        for place, note in trusted:
            kept = Checkpoint.open(note, self._log.verifiers, place)
            if kept.size > self._tiles.size:
                text = f"the log has {self._tiles.size} entries, the checkpoint kept elsewhere has {kept.size}"
                self._report(log_finding("not_extending", text, place))
            elif not self._is_root(kept):
                text = f"the log does not start with the {kept.size} entries of the checkpoint kept elsewhere"
                self._report(log_finding("not_extending", text, place))

    def _is_root(self, head: Checkpoint) -> bool:
        try:
            return root(self._tiles, head.size) == head.root
        except SealedLogInvalid:
            # The missing tile is reported by the check of the tiles.
            return False

    def tiles_of_tiles(self) -> None:
        """Check that each hash of a tile is the root of the tile below it."""
        level = 1
        while self._tiles.size >> 8 * level:
            for index in range(((self._tiles.size >> 8 * level) + WIDTH - 1) // WIDTH):
                self._check_tile(level, index)
            level += 1

    def _check_tile(self, level: int, index: int) -> None:
        try:
            for below, known in enumerate(self._tiles.hashes(level, index), start=index * WIDTH):
                if whole(self._tiles.hashes(level - 1, below)) != known:
                    text = "the tile does not match its hash in the tile above it"
                    place = f"{self._uri}/{tile_path(level - 1, below)}"
                    self._report(log_finding("tree_changed", text, place))
        except (SealedLogInvalid, IndexError) as error:
            place = error.where if isinstance(error, SealedLogInvalid) else self._uri
            self._report(log_finding("tree_changed", "a tile is missing or too short", place))

    def entries(self, progress: Callable[[int, int], None]) -> None:
        """Check every entry against its tile, and follow the chains."""
        size = self._tiles.size
        for index in range((size + WIDTH - 1) // WIDTH):
            end = min((index + 1) * WIDTH, size)
            if end <= self.state.pruned:
                continue
            self._check_bundle(index, end - index * WIDTH)
            progress(end, size)

    def _check_bundle(self, index: int, count: int) -> None:
        first = index * WIDTH
        place = f"{self._uri}/{bundle_path(index)}"
        try:
            bundle = self._tiles.entries(index)
            hashes = self._tiles.hashes(0, index)
        except ObjectMissing:
            text = f"{count} entries from {first} on are missing, and no prune was signed"
            self._report(log_finding("entry_missing", text, place, entry=first))
            return
        except SealedLogInvalid as error:
            self._report(log_finding("tree_changed", error.what, error.where))
            return
        for offset, known in enumerate(hashes):
            number = first + offset
            if offset >= len(bundle):
                text = "missing at the end of its bundle"
                self._report(log_finding("entry_missing", text, place, entry=number))
            elif leaf_hash(bundle[offset]) != known:
                entry = entries.read(bundle[offset])
                chain, sequence = (entry.chain, entry.sequence) if entry else (None, None)
                text = "the entry does not match its hash in the tile"
                self._report(log_finding("entry_changed", text, place, None, chain, sequence, number))
            else:
                self._follow(bundle[offset], place, number)

    def _follow(self, data: bytes, place: str, index: int) -> None:
        """Check that an entry continues its chain as far as it was read."""
        entry = entries.read(data)
        if entry is None:
            self._report(log_finding("entry_changed", "not an event", place, entry=index))
            return
        end = self.state.chains.get(entry.chain)
        following, last = (end.following, end.last) if end else (0, FIRST)
        # A chain whose start was pruned, or rotated away before it was anchored, starts with a later number.
        cut = end is None and entry.sequence > 0
        # After a changed or missing entry, a gap in a chain is a consequence of it.
        gap = entry.sequence > following and any(
            finding.rule in ("entry_changed", "entry_missing") for finding in self.state.found
        )
        ended = end is not None and end.ended
        if not (cut or gap) and (ended or (entry.sequence, entry.previous) != (following, last)):
            text = "anchored at a place where it does not continue its chain"
            self._report(log_finding("entry_misplaced", text, place, None, entry.chain, entry.sequence, index))
            return
        first, begins_at = (end.first, end.begins_at) if end else (entry.sequence, index)
        self.state.chains.set(
            entry.chain,
            AnchoredEnd(entry.sequence + 1, entry.hash, entry.ends, entry.time, first, begins_at, index),
        )


def anchored_entries(log: AnchoredLog, state: LogState, wanted: set[str]) -> dict[str, dict[int, tuple[str, int]]]:
    """Return the anchored entries of some chains: chain -> sequence number -> hash and index."""
    by_chain: dict[str, dict[int, tuple[str, int]]] = {chain: {} for chain in wanted}
    tiles = log.tiles(state.head.size)
    for index in range(state.pruned // WIDTH, (tiles.size + WIDTH - 1) // WIDTH):
        try:
            bundle = tiles.entries(index)
        except StoreError:
            # The check of the log has reported the missing bundle.
            continue
        for number, data in enumerate(bundle, start=index * WIDTH):
            entry = entries.read(data)
            if entry is not None and entry.chain in wanted:
                by_chain[entry.chain].setdefault(entry.sequence, (entry.hash, number))
    return by_chain

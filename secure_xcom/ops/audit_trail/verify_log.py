"""Checking the sealed log by itself: every entry against its tile, every tile against the signed roots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from secure_xcom.core.errors import ObjectMissing, SealedLogInvalid, StoreError
from secure_xcom.core.event_chain import FIRST
from secure_xcom.ops.audit_trail import entries
from secure_xcom.ops.audit_trail.findings import Found
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog, source_named
from secure_xcom.ops.audit_trail.tlog.checkpoint import Checkpoint
from secure_xcom.ops.audit_trail.tlog.layout import WIDTH, bundle_path, tile_path
from secure_xcom.ops.audit_trail.tlog.merkle import leaf_hash, root, whole
from secure_xcom.ops.audit_trail.tlog.tiles import Tiles


class SealedEnd(NamedTuple):
    """How far a chain is sealed, as the entries themselves say it.

    ``begins_at`` and ``ends_at`` are the indexes of its first and its last sealed entry: an order that no clock
    changes, and nobody without the signing key.
    """

    following: int
    last: str
    ended: bool
    time: str
    first: int
    begins_at: int
    ends_at: int


@dataclass(slots=True)
class LogState:
    """What the sealed log holds.

    :ivar chains: how far each chain is sealed; :ivar pruned: the index below which entries were removed, all of
        them older than :ivar pruned_before:.
    :ivar covered: source -> the time before which all of its events were sealed.
    """

    head: Checkpoint
    found: list[Found] = field(default_factory=list)
    chains: dict[str, SealedEnd] = field(default_factory=dict)
    pruned: int = 0
    pruned_before: str = ""
    covered: dict[str, str] = field(default_factory=dict)

    @property
    def holes(self) -> bool:
        """Whether an entry was found to be changed or missing."""
        return any(one.kind in ("entry_changed", "entry_missing") for one in self.found)


def check_log(
    log: AnchoredLog, trusted: Sequence[tuple[str, bytes]], progress: Callable[[int, int], None]
) -> LogState:
    """Check the whole log.

    :param trusted: notes of checkpoints that were kept elsewhere, each with where.
    :param progress: told how many entries of how many were read.
    :raises StoreError: the store cannot be read; :raises SealedLogInvalid: there is no checkpoint that is signed.
    """
    state = LogState(Checkpoint.empty(log.origin))
    heads = list(_checkpoints(log, state))
    if heads:
        state.head = max(heads, key=lambda head: head.size)
    state.pruned, state.pruned_before = log.pruned()
    tiles = log.tiles(state.head.size)
    _check_tiles(log, tiles, state)
    _check_heads(log, tiles, heads, state, trusted)
    _check_entries(log, tiles, state, progress)
    for seal in log.seals_newest_first():
        for source in seal.sources:
            if seal.until:
                state.covered.setdefault(source_named(source), seal.until)
    return state


def _checkpoints(log: AnchoredLog, state: LogState) -> Iterator[Checkpoint]:
    numbers = log.numbers("checkpoints")
    for number in numbers:
        try:
            yield log.checkpoint(number)
        except SealedLogInvalid as error:
            state.found.append(Found("bad_signature", error.what, error.where))
    for number in sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers)):
        place = f"{log.store.uri}/checkpoints/{number:012}"
        state.found.append(Found("entry_missing", "a checkpoint between others is missing", place))


def _check_heads(
    log: AnchoredLog,
    tiles: Tiles,
    heads: Sequence[Checkpoint],
    state: LogState,
    trusted: Sequence[tuple[str, bytes]],
) -> None:
    roots: dict[int, bytes] = {}
    for head in heads:
        known = roots.setdefault(head.size, head.root)
        if known != head.root:
            text = f"two checkpoints of {head.size} entries have different roots, both signed"
            state.found.append(Found("forked", text, log.store.uri))
        elif not _is_root(tiles, head):
            text = f"the entries are not those of the checkpoint of {head.size}, which is signed"
            state.found.append(Found("tree_changed", text, log.store.uri))
    for where, note in trusted:
        kept = Checkpoint.open(note, log.verifiers, where)
        if kept.size > tiles.size:
            text = f"the log has {tiles.size} entries, and the checkpoint kept elsewhere has {kept.size}"
            state.found.append(Found("not_extending", text, where))
        elif not _is_root(tiles, kept):
            text = f"the log does not begin with the {kept.size} entries of the checkpoint kept elsewhere"
            state.found.append(Found("not_extending", text, where))


def _is_root(tiles: Tiles, head: Checkpoint) -> bool:
    try:
        return root(tiles, head.size) == head.root
    except SealedLogInvalid:
        # The missing tile itself was found already.
        return False


def _check_tiles(log: AnchoredLog, tiles: Tiles, state: LogState) -> None:
    """Each hash of a tile is the root of the tile below it; where it is not, something was changed."""
    level = 1
    while tiles.size >> 8 * level:
        for index in range(((tiles.size >> 8 * level) + WIDTH - 1) // WIDTH):
            try:
                hashes = tiles.hashes(level, index)
                for at, known in enumerate(hashes):
                    below = index * WIDTH + at
                    if whole(tiles.hashes(level - 1, below)) != known:
                        text = "the tile is not the one that the tile above it names"
                        place = f"{log.store.uri}/{tile_path(level - 1, below)}"
                        state.found.append(Found("tree_changed", text, place))
            except (SealedLogInvalid, IndexError) as error:
                where = error.where if isinstance(error, SealedLogInvalid) else log.store.uri
                state.found.append(Found("tree_changed", "a tile is missing or cut", where))
        level += 1


def _check_entries(log: AnchoredLog, tiles: Tiles, state: LogState, progress: Callable[[int, int], None]) -> None:
    size = tiles.size
    for index in range((size + WIDTH - 1) // WIDTH):
        first = index * WIDTH
        place = f"{log.store.uri}/{bundle_path(index)}"
        if min(first + WIDTH, size) <= state.pruned:
            continue
        try:
            bundle = tiles.entries(index)
            hashes = tiles.hashes(0, index)
        except ObjectMissing:
            count = min(WIDTH, size - first)
            text = f"{count} entries from {first} on are missing, and no prune was signed"
            state.found.append(Found("entry_missing", text, place, entry=first))
            continue
        except SealedLogInvalid as error:
            state.found.append(Found("tree_changed", error.what, error.where))
            continue
        for at, known in enumerate(hashes):
            if at >= len(bundle):
                text = "missing at the end of its bundle"
                state.found.append(Found("entry_missing", text, place, entry=first + at))
            elif leaf_hash(bundle[at]) != known:
                _name_entry(bundle[at], place, first + at, state)
            else:
                _follow(bundle[at], place, first + at, state)
        progress(min(first + WIDTH, size), size)


def _name_entry(data: bytes, place: str, index: int, state: LogState) -> None:
    entry = entries.read(data)
    chain, sequence = (entry.chain, entry.sequence) if entry else (None, None)
    text = "not the entry that its tile names by its hash"
    state.found.append(Found("entry_changed", text, place, None, chain, sequence, index))


def _follow(data: bytes, place: str, index: int, state: LogState) -> None:
    """Hold an entry against the end of its chain as far as it was read."""
    entry = entries.read(data)
    if entry is None:
        state.found.append(Found("entry_changed", "no event", place, entry=index))
        return
    end = state.chains.get(entry.chain)
    following, last = (end.following, end.last) if end else (0, FIRST)
    # A chain whose beginning was pruned or rotated away before its first seal begins where it begins.
    cut = end is None and entry.sequence > 0
    # Behind an entry that was changed or is missing, a hole in a chain is what that leaves.
    hole = state.holes and entry.sequence > following
    ended = end is not None and end.ended
    if not (cut or hole) and (ended or (entry.sequence, entry.previous) != (following, last)):
        text = "sealed at a place that is not the next of its chain"
        state.found.append(Found("entry_misplaced", text, place, None, entry.chain, entry.sequence, index))
        return
    first, begins_at = (end.first, end.begins_at) if end else (entry.sequence, index)
    state.chains[entry.chain] = SealedEnd(
        entry.sequence + 1, entry.hash, entry.ends, entry.time, first, begins_at, index
    )


def sealed_entries(log: AnchoredLog, state: LogState, wanted: set[str]) -> dict[str, dict[int, tuple[str, int]]]:
    """The sealed entries of some chains: sequence -> hash and index."""
    found: dict[str, dict[int, tuple[str, int]]] = {chain: {} for chain in wanted}
    tiles = log.tiles(state.head.size)
    for index in range(state.pruned // WIDTH, (tiles.size + WIDTH - 1) // WIDTH):
        try:
            bundle = tiles.entries(index)
        except StoreError:
            # That it is missing was found already.
            continue
        for at, data in enumerate(bundle):
            entry = entries.read(data)
            if entry is not None and entry.chain in wanted:
                found[entry.chain].setdefault(entry.sequence, (entry.hash, index * WIDTH + at))
    return found

"""An anchored log of several tiles and bundles, checked by itself: what is said of each changed object."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.event_chain import FIRST
from secure_xcom.ops.audit_trail.chain_ends import AnchoredEnd
from secure_xcom.ops.audit_trail.tlog.anchor_record import Anchor
from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
from secure_xcom.ops.audit_trail.tlog.layout import join_entries, split_entries
from secure_xcom.ops.audit_trail.tlog.note import Verifier
from secure_xcom.ops.audit_trail.tlog.signer_file import FileSigner
from secure_xcom.ops.audit_trail.tlog.tiles import Tiles
from secure_xcom.ops.audit_trail.verify_log import LogState, anchored_entries, check_log
from secure_xcom.stores import store
from tests.support.access_logs import START, chain, text, uuid7_at

NAME = "audit.example.com/airflow"
A, B = uuid7_at(START, 1), uuid7_at(START, 2)
SIZE = 600
LINES = chain(1, SIZE, step=0.1)


class Site:
    """A log in a folder, and the key that signs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "log"
        self.folder.mkdir()
        self.signer = FileSigner((folder / "key.pem").as_uri())
        self.signer.create()
        self.log = AnchoredLog(store(self.folder.as_uri()), [Verifier(NAME, self.signer.public_key())])
        self.size = 0

    def anchor(self, lines: Sequence[bytes]) -> None:
        """Anchor lines as they are, whatever they say."""
        number, first = len(self.log.numbers("checkpoints")) + 1, self.size
        self.size += len(lines)
        record = Anchor(number, first, self.size, text(START))
        self.log.begin(record, lines)
        self.log.finish(record, lines, self.signer)

    def check(self, progress: Callable[[int, int], None] = lambda _read, _total: None) -> LogState:
        """Check it."""
        return check_log(self.log, (), progress)

    def found(self) -> list[tuple[Any, ...]]:
        """Each finding: kind, object, event, entry."""
        return [
            (one.rule, one.subject.partition("/log")[2], one.details["sequence"], one.details["entry"])
            for one in self.check().found
        ]


@pytest.fixture
def empty(tmp_path: Path) -> Site:
    """A log without an entry."""
    return Site(tmp_path)


@pytest.fixture
def site(empty: Site) -> Site:
    """A log of 600 entries in three anchors: two whole bundles, a part of one, and a tile above them."""
    for first in range(0, SIZE, 200):
        empty.anchor(LINES[first : first + 200])
    return empty


def test_an_untouched_log_says_how_far_its_chains_are_anchored(site: Site) -> None:
    """With the first and last entry of each, and the progress of each bundle."""
    read: list[tuple[int, int]] = []
    state = site.check(lambda done, total: read.append((done, total)))
    assert state.found == []
    assert read == [(256, SIZE), (512, SIZE), (SIZE, SIZE)]
    last = json.loads(LINES[-1])
    newest = hashlib.sha256(LINES[-1]).hexdigest()
    assert dict(state.chains.items()) == {A: AnchoredEnd(SIZE, newest, True, last["time"], 0, 0, SIZE - 1)}


def test_a_log_without_entries_lacks_nothing(empty: Site) -> None:
    """Nothing was anchored yet."""
    assert empty.found() == []
    assert dict(empty.check().chains.items()) == {}


def test_entries_are_found_by_their_chains(site: Site) -> None:
    """Each event with its hash and its index, across bundles; of a bundle that is gone, none."""
    state = site.check()
    every = {number: (hashlib.sha256(line).hexdigest(), number) for number, line in enumerate(LINES)}
    assert anchored_entries(site.log, state, {A, B}) == {A: every, B: {}}
    (site.folder / "tile/entries/001").unlink()
    left = {number: entry for number, entry in every.items() if not 256 <= number < 512}
    assert anchored_entries(site.log, state, {A}) == {A: left}


def test_a_tile_that_does_not_fit_the_one_above_is_named(site: Site) -> None:
    """A hash above is changed, so each tile below is compared with its own."""
    above = site.folder / "tile/1/000.p/2"
    above.write_bytes(above.read_bytes()[:32] + bytes(32))
    found = site.found()
    assert ("tree_changed", "/tile/0/001", None, None) in found
    assert "/tile/0/000" not in [one[1] for one in found]


def test_a_tile_above_that_is_gone_is_told(site: Site) -> None:
    """By itself, beside the roots that cannot be computed any more."""
    (site.folder / "tile/1/000.p/2").unlink()
    texts = [one.text for one in site.check().found if one.rule == "tree_changed"]
    assert "a tile is missing or too short" in texts


@pytest.mark.parametrize("left", [0, 31, 32, 63])
def test_a_tile_above_that_is_too_short_fits_no_checkpoint(site: Site, left: int) -> None:
    """Wherever it ends."""
    above = site.folder / "tile/1/000.p/2"
    above.write_bytes(above.read_bytes()[:left])
    assert "tree_changed" in [one.rule for one in site.check().found]


@pytest.mark.timeout(300)
def test_each_level_of_tiles_is_checked(empty: Site) -> None:
    """65,537 entries have a third level; a hash in it that is changed is found."""
    lines = [b"%d" % number for number in range(65_537)]
    Tiles(empty.log.store, 0).extended(lines)
    # What is signed is the tree, whatever its entries say.
    empty.anchor(lines)
    highest = empty.folder / "tile/2/000.p/1"
    before = {one.rule for one in empty.check().found}
    assert before == {"entry_changed"}
    highest.write_bytes(bytes(32))
    places = {one.subject.partition("/log")[2] for one in empty.check().found if one.rule == "tree_changed"}
    assert "/tile/1/000" in places


@pytest.mark.parametrize(("name", "entry", "count"), [("000", 0, 256), ("001", 256, 256), ("002.p/88", 512, 88)])
def test_a_bundle_that_is_gone_is_one_finding(site: Site, name: str, entry: int, count: int) -> None:
    """With its first entry and their number, and no consequence of it."""
    (site.folder / "tile/entries" / name).unlink()
    [one] = site.check().found
    assert (one.rule, one.details["entry"]) == ("entry_missing", entry)
    assert one.subject.endswith(f"/tile/entries/{name[:3]}")
    assert one.text == f"{count} entries from {entry} on are missing, and no prune was signed"


def test_entries_that_are_cut_off_a_bundle_are_named(site: Site) -> None:
    """One finding for each."""
    bundle = site.folder / "tile/entries/002.p/88"
    kept = list(split_entries(bundle.read_bytes()))[:-2]
    bundle.write_bytes(join_entries(kept))
    assert site.found() == [("entry_missing", "/tile/entries/002", None, number) for number in (598, 599)]


def test_an_edited_entry_is_one_finding(site: Site) -> None:
    """The chain has a gap there, which is a consequence of it."""
    bundle = site.folder / "tile/entries/001"
    entries = list(split_entries(bundle.read_bytes()))
    entries[4] = entries[4].replace(b'"pid":4711', b'"pid":4712')
    bundle.write_bytes(join_entries(entries))
    assert site.found() == [("entry_changed", "/tile/entries/001", 260, 260)]


def test_a_checkpoint_that_is_gone_is_named(site: Site) -> None:
    """Those before and after it are there."""
    (site.folder / "checkpoints/000000000002").unlink()
    assert site.found() == [("entry_missing", "/checkpoints/000000000002", None, None)]


def test_what_is_no_event_is_told(empty: Site) -> None:
    """Whoever has the key may anchor anything."""
    empty.anchor([LINES[0], b"not an event", LINES[1]])
    assert empty.found() == [("entry_changed", "/tile/entries/000", None, 1)]


def renamed(line: bytes, **changes: Any) -> bytes:
    """An event that says something else."""
    return json.dumps({**json.loads(line), **changes}, separators=(",", ":"), sort_keys=True).encode()


@pytest.mark.parametrize(
    ("lines", "misplaced"),
    [
        # A second time, a gap, a first event that names another, one that does not name the one before it.
        ([*LINES[:3], LINES[1]], [(1, 3)]),
        ([*LINES[:2], LINES[3]], [(3, 2)]),
        ([renamed(LINES[0], previous="ab" * 32)], [(0, 0)]),
        ([*LINES[:2], renamed(LINES[2], previous=FIRST)], [(2, 2)]),
        # Behind the end of the chain.
        ([*chain(2, 3), renamed(LINES[3], chain=B)], [(3, 3)]),
        # The start was pruned or rotated away: any number may be the first one that is anchored, once.
        (LINES[5:9], []),
        ([*LINES[5:9], LINES[4]], [(4, 4)]),
        ([*chain(2, 3), *LINES[:3]], []),
    ],
    ids=["again", "gap", "first", "link", "behind the end", "cut", "cut and before", "two chains"],
)
def test_an_entry_that_does_not_continue_its_chain_is_misplaced(
    empty: Site, lines: list[bytes], misplaced: list[tuple[int, int]]
) -> None:
    """With its event and its index."""
    empty.anchor(lines)
    place = "/tile/entries/000"
    assert empty.found() == [("entry_misplaced", place, sequence, entry) for sequence, entry in misplaced]


def test_a_changed_entry_excuses_a_gap_and_nothing_else(empty: Site) -> None:
    """The next event of a chain must still name the one before it."""
    empty.anchor([LINES[0], b"not an event", renamed(LINES[1], previous=FIRST), LINES[3]])
    assert empty.found() == [
        ("entry_changed", "/tile/entries/000", None, 1),
        ("entry_misplaced", "/tile/entries/000", 1, 2),
    ]

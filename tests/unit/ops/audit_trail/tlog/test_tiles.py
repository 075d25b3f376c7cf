"""Tiles in a store: what replaces what, what may be missing, and what is read again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from secure_xcom.core.errors import ObjectMissing
from secure_xcom.core.operator_errors import SealedLogInvalid
from secure_xcom.ops.audit_trail.tlog import tiles as tiles_module
from secure_xcom.ops.audit_trail.tlog.layout import WIDTH, bundle_path, tile_path
from secure_xcom.ops.audit_trail.tlog.merkle import leaf_hash, node_hash
from secure_xcom.ops.audit_trail.tlog.tiles import Tiles
from secure_xcom.stores import Store, store

ENTRIES = [b"entry %d" % number for number in range(2000)]


def grown(folder: Path, *sizes: int) -> list[list[str]]:
    """Write trees of these sizes, one after the other, and return what each has replaced."""
    size, replaced = 0, []
    for grown_to in sizes:
        replaced.append(Tiles(store(folder.as_uri()), size).extended(ENTRIES[size:grown_to])[1])
        size = grown_to
    return replaced


def test_full_tiles_replace_partial_ones(tmp_path: Path) -> None:
    """Only the tile that was partial before and is full now is replaced, and its bundle."""
    assert grown(tmp_path, 300, 600, 610, 2000) == [
        [],
        [bundle_path(1, 44), tile_path(0, 1, 44)],
        [],
        [bundle_path(2, 98), tile_path(0, 2, 98)],
    ]


def test_a_full_tile_is_replaced_by_nothing(tmp_path: Path) -> None:
    """A tree that ended with a full tile had no partial one."""
    assert grown(tmp_path, 256, 512) == [[], []]


def test_a_smaller_tree_reads_full_tiles(tmp_path: Path) -> None:
    """Once the partial tile is gone, a reader of the older tree takes the beginning of the full one."""
    for path in grown(tmp_path, 300, 600)[1]:
        (tmp_path / path).unlink()
    older = Tiles(store(tmp_path.as_uri()), 300)
    assert older.hashes(0, 1) == [leaf_hash(entry) for entry in ENTRIES[256:300]]
    assert older.entries(1) == ENTRIES[256:300]
    assert older.node(1, 128) == node_hash(leaf_hash(ENTRIES[256]), leaf_hash(ENTRIES[257]))


class InPieces:
    """A store whose objects come in pieces of five bytes, as one of a network may send them."""

    def __init__(self, whole: Store) -> None:
        self.uri, self.put, self.get_many = whole.uri, whole.put, whole.get_many
        self.delete_many, self.list = whole.delete_many, whole.list
        self._whole = whole

    def get(self, path: str) -> Iterator[bytes]:
        """Return the object's bytes, a few at a time."""
        data = b"".join(self._whole.get(path))
        yield from (data[start : start + 5] for start in range(0, len(data), 5))


def test_objects_may_come_in_pieces(tmp_path: Path) -> None:
    """Tiles and bundles, whole and partial, and those that are compared because they are there already."""
    for path in grown(tmp_path, 300, 600)[1]:
        (tmp_path / path).unlink()
    pieces = InPieces(store(tmp_path.as_uri()))
    for size in (300, 600):
        tree = Tiles(pieces, size)
        for index in range(size // WIDTH + 1):
            expected = ENTRIES[index * WIDTH : min(size, (index + 1) * WIDTH)]
            assert tree.entries(index) == expected
            assert tree.hashes(0, index) == [leaf_hash(entry) for entry in expected]
    assert Tiles(pieces, 512).extended(ENTRIES[512:600])[1] == []


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """A tile is part of the proof, a bundle may have been pruned; each error says which one it is."""
    grown(tmp_path, 600)
    for path in (tile_path(0, 0), tile_path(0, 2, 88), bundle_path(0), bundle_path(2, 88)):
        (tmp_path / path).unlink()
    tree = Tiles(store(tmp_path.as_uri()), 600)
    for index, path in ((0, tile_path(0, 0)), (2, tile_path(0, 2, 88))):
        with pytest.raises(SealedLogInvalid, match="a tile of the anchored log is missing") as lost:
            tree.hashes(0, index)
        assert lost.value.where == f"{tree.store.uri}/{path}"
    for index, path in ((0, bundle_path(0)), (2, bundle_path(2, 88))):
        with pytest.raises(ObjectMissing) as pruned:
            tree.entries(index)
        assert pruned.value.where == f"{tree.store.uri}/{path}"
    assert tree.entries(1) == ENTRIES[256:512]


def test_a_short_tile_is_named(tmp_path: Path) -> None:
    """A tile that was cut has no hash for the tree's later leaves."""
    grown(tmp_path, 600)
    tile = tmp_path / tile_path(0, 1)
    tile.chmod(0o600)
    tile.write_bytes(tile.read_bytes()[:-32])
    tree = Tiles(store(tmp_path.as_uri()), 600)
    assert tree.node(0, 510) == leaf_hash(ENTRIES[510])
    with pytest.raises(SealedLogInvalid, match="fewer hashes than its tree needs") as short:
        tree.node(0, 511)
    assert short.value.where == f"{tree.store.uri}/{tile_path(0, 1)}"


def test_the_tiles_used_last_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and a tile that was just used is not read again."""
    grown(tmp_path, 1024)
    monkeypatch.setattr(tiles_module, "_CACHED", 2)
    tree = Tiles(store(tmp_path.as_uri()), 1024)
    for index in (0, 1, 0, 2):
        tree.hashes(0, index)
    for index in (0, 1, 2):
        (tmp_path / tile_path(0, index)).unlink()
    assert tree.hashes(0, 0)[0] == leaf_hash(ENTRIES[0])
    assert tree.hashes(0, 2)[0] == leaf_hash(ENTRIES[512])
    with pytest.raises(SealedLogInvalid):
        tree.hashes(0, 1)

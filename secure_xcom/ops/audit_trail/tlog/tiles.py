"""The tiles of a tree in a store: read them as hashes of subtrees, and extend the tree by new leaves."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from secure_xcom.core.errors import ObjectExists, ObjectMissing
from secure_xcom.core.operator_errors import SealedLogInvalid
from secure_xcom.ops.audit_trail.tlog.layout import (
    HEIGHT,
    WIDTH,
    bundle_path,
    join_entries,
    split_entries,
    tile_path,
    width_at,
)
from secure_xcom.ops.audit_trail.tlog.merkle import HASH_BYTES, leaf_hash, whole
from secure_xcom.stores import Store

_CACHED = 512
"""The most tiles in memory: 4 MiB."""
_WRITERS = 8
"""How many objects are written at a time."""


class Tiles:
    """The tree of the first ``size`` leaves, as `secure_xcom.ops.audit_trail.tlog.merkle.Nodes`.

    The store is not trusted: a tree counts only if its root is the root of a signed checkpoint.
    """

    def __init__(self, store: Store, size: int) -> None:
        self.store = store
        self.size = size
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a whole subtree, from the tile that holds it or its parts.

        :raises SealedLogInvalid: the tile is missing or too short.
        """
        tile_level, inside = divmod(level, HEIGHT)
        first = index << inside
        hashes = self.hashes(tile_level, first // WIDTH)
        offset = first % WIDTH
        parts = hashes[offset : offset + (1 << inside)]
        if len(parts) != 1 << inside:
            path = tile_path(tile_level, first // WIDTH)
            raise SealedLogInvalid("a tile has fewer hashes than its tree needs", where=f"{self.store.uri}/{path}")
        return whole(parts)

    def hashes(self, level: int, index: int) -> list[bytes]:
        """Return the hashes of one tile, as many as a tree of this size has in it."""
        name = (level, index)
        if name not in self._cache:
            self._cache[name] = self._read(level, index)
            while len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(name)
        tile = self._cache[name]
        return [tile[start : start + HASH_BYTES] for start in range(0, len(tile), HASH_BYTES)]

    def entries(self, index: int) -> list[bytes]:
        """Return the entries of one bundle, as many as a tree of this size has in it.

        :raises ObjectMissing: the bundle was pruned or removed.
        """
        width = width_at(self.size, 0, index)
        return list(split_entries(self._whole_or_part(bundle_path, index, width)))[:width]

    def _read(self, level: int, index: int) -> bytes:
        width = width_at(self.size, level, index)
        try:
            tile = self._whole_or_part(lambda tile, wide: tile_path(level, tile, wide), index, width)
        except ObjectMissing as error:
            raise SealedLogInvalid("a tile of the anchored log is missing", where=error.where) from None
        return tile[: width * HASH_BYTES]

    def _whole_or_part(self, path: Callable[[int, int], str], index: int, width: int) -> bytes:
        try:
            return b"".join(self.store.get(path(index, width)))
        except ObjectMissing:
            # A partial tile may be deleted once the full one exists (tlog-tiles, "Partial Tiles").
            if width == WIDTH:
                raise
        try:
            return b"".join(self.store.get(path(index, WIDTH)))
        except ObjectMissing as error:
            raise ObjectMissing(error.what, where=f"{self.store.uri}/{path(index, width)}") from None

    def extended(self, entries: Sequence[bytes]) -> tuple[Tiles, list[str]]:
        """Write the bundles and tiles of the tree with these entries after its last leaf.

        Writing the same again changes nothing, so an interrupted run is simply repeated.

        :returns: the new tree, and the paths of partial tiles and bundles that full ones have replaced.
        :raises SealedLogInvalid: one of the paths has other content: the log was forked.
        """
        grown = Tiles(self.store, self.size + len(entries))
        bundles, replaced = self._extended_bundles(entries)
        tiles: list[tuple[str, bytes]] = []
        fresh = [leaf_hash(entry) for entry in entries]
        level = 0
        while fresh:
            had = self.size >> HEIGHT * level
            first = had // WIDTH
            kept = self.hashes(level, first) if had % WIDTH else []
            row = kept + fresh
            parents = []
            for start in range(0, len(row), WIDTH):
                part = row[start : start + WIDTH]
                index = first + start // WIDTH
                tiles.append((tile_path(level, index, len(part)), b"".join(part)))
                grown._cache[level, index] = tiles[-1][1]
                if len(part) == WIDTH:
                    parents.append(whole(part))
                    if index == first and kept:
                        replaced.append(tile_path(level, index, len(kept)))
            fresh = parents
            level += 1
        self._write(bundles, tiles)
        return grown, replaced

    def _extended_bundles(self, entries: Sequence[bytes]) -> tuple[list[tuple[str, list[bytes]]], list[str]]:
        """Return the bundles, and the paths of partial ones that full ones replace."""
        bundles, replaced = [], []
        first = self.size // WIDTH
        kept = self.entries(first) if self.size % WIDTH else []
        row = [*kept, *entries]
        for start in range(0, len(row), WIDTH):
            part = row[start : start + WIDTH]
            index = first + start // WIDTH
            bundles.append((bundle_path(index, len(part)), part))
            if len(part) == WIDTH and index == first and kept:
                replaced.append(bundle_path(index, len(kept)))
        return bundles, replaced

    def _write(self, bundles: Sequence[tuple[str, list[bytes]]], tiles: Sequence[tuple[str, bytes]]) -> None:
        """Write several at a time, since a store takes a millisecond or more for each."""
        with ThreadPoolExecutor(_WRITERS) as threads:
            # A map is read to its end so that it raises what a thread raised.
            deque(threads.map(lambda each: write_once(self.store, each[0], join_entries(each[1])), bundles), 0)
            deque(threads.map(lambda each: write_once(self.store, *each), tiles), 0)


def write_once(store: Store, path: str, content: bytes) -> None:
    """Create the object, or check that it exists with the same bytes.

    :raises SealedLogInvalid: it has other bytes.
    """
    try:
        store.put(path, [content])
    except ObjectExists:
        if b"".join(store.get(path)) != content:
            raise SealedLogInvalid(
                "the anchored log was forked: the object exists with other bytes",
                where=f"{store.uri}/{path}",
                remedy="run `secure-xcom audit verify`, and find out who else writes to this store",
            ) from None

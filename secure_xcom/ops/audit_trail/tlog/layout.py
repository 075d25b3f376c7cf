"""The paths of tiles and entries, and the format of a bundle of entries (C2SP tlog-tiles)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

HEIGHT = 8
WIDTH = 1 << HEIGHT
"""Hashes of a full tile, and entries of a full bundle."""

ENTRY_MAX_BYTES = 65_535
"""The length of an entry is stored in two bytes."""

# Enough for 2**64 leaves, more than any log has (tlog-tiles, "Merkle Tree"). An object of any name may lie
# in the store.
_BUNDLE = re.compile(r"tile/entries/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([0-9]{1,3}))?")


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """Return ``tile/<L>/<N>[.p/<W>]``."""
    return f"tile/{level}/{_numbered(index, width)}"


def bundle_path(index: int, width: int = WIDTH) -> str:
    """Return ``tile/entries/<N>[.p/<W>]``."""
    return f"tile/entries/{_numbered(index, width)}"


def bundle_index(path: str) -> tuple[int, int] | None:
    """Return the number and the width of the bundle at a path, or None for any other path."""
    match = _BUNDLE.fullmatch(path)
    if match is None:
        return None
    number, width = match.groups()
    index = int(number.replace("x", "").replace("/", ""))
    bundle = index, int(width or WIDTH)
    return bundle if bundle_path(*bundle) == path else None


def _numbered(index: int, width: int) -> str:
    parts = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03}")
    return "/".join(parts) + ("" if width == WIDTH else f".p/{width}")


def width_at(size: int, level: int, index: int) -> int:
    """Return how many hashes the index-th tile of a level has in a tree of this size; 0 for none."""
    return max(0, min(WIDTH, (size >> HEIGHT * level) - index * WIDTH))


def join_entries(entries: Iterable[bytes]) -> bytes:
    """Return a bundle: each entry preceded by its length, 16 bits, most significant first."""
    return b"".join([part for entry in entries for part in (len(entry).to_bytes(2, "big"), entry)])


def split_entries(bundle: bytes) -> Iterator[bytes]:
    """Return the entries of a bundle. Surplus bytes at its end are returned as an entry, which fails its hash."""
    start = 0
    while start < len(bundle):
        size = int.from_bytes(bundle[start : start + 2], "big")
        yield bundle[start + 2 : start + 2 + size]
        start += 2 + size

"""Where tiles and entries lie, and what a bundle of entries is made of (C2SP tlog-tiles)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from secure_xcom.ops.audit_trail.tlog.merkle import HASH_BYTES

HEIGHT = 8
WIDTH = 1 << HEIGHT
"""Hashes of a full tile, and entries of a full bundle."""

TILE_BYTES = WIDTH * HASH_BYTES
ENTRY_MAX_BYTES = 65_535
"""An entry's length stands before it in two bytes."""


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """``tile/<L>/<N>[.p/<W>]``."""
    return f"tile/{level}/{_numbered(index, width)}"


def bundle_path(index: int, width: int = WIDTH) -> str:
    """``tile/entries/<N>[.p/<W>]``."""
    return f"tile/entries/{_numbered(index, width)}"


def bundle_index(path: str) -> tuple[int, int] | None:
    """The number and the width of the bundle at a path, or None for any other path."""
    if not path.startswith("tile/entries/"):
        return None
    number, _, width = path.removeprefix("tile/entries/").partition(".p/")
    parts = [part.removeprefix("x") for part in number.split("/")]
    if not all(len(part) == 3 and part.isdigit() for part in parts) or (width and not width.isdigit()):
        return None
    index = int("".join(parts))
    found = index, int(width or WIDTH)
    return found if bundle_path(*found) == path else None


def _numbered(index: int, width: int) -> str:
    parts = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03}")
    return "/".join(parts) + ("" if width == WIDTH else f".p/{width}")


def width_at(size: int, level: int, index: int) -> int:
    """How many hashes the index-th tile of a level has in a tree of this size; 0 for none."""
    return max(0, min(WIDTH, (size >> HEIGHT * level) - index * WIDTH))


def join_entries(entries: Iterable[bytes]) -> bytes:
    """A bundle: each entry with its length before it, 16 bits, most significant first."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def split_entries(bundle: bytes) -> Iterator[bytes]:
    """The entries of a bundle. What is left over at its end is an entry of its own, which fails its hash."""
    at = 0
    while at < len(bundle):
        size = int.from_bytes(bundle[at : at + 2], "big")
        yield bundle[at + 2 : at + 2 + size]
        at += 2 + size

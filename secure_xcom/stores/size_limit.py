"""Read whole objects up to their expected size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def whole(pieces: Iterable[bytes], size: int | None) -> bytes:
    """Return an object's pieces joined.

    :param size: the expected number of bytes. Of a longer object, one byte more is returned and no further piece
        is read. None for no limit.
    """
    held: list[bytes] = []
    missing = None if size is None else size + 1
    for piece in pieces:
        held.append(piece)
        if missing is not None:
            missing -= len(piece)
            if missing <= 0:
                held[-1] = piece[: len(piece) + missing]
                break
    return held[0] if len(held) == 1 else b"".join(held)


def with_sizes(paths: Sequence[str], sizes: Sequence[int] | None) -> list[tuple[str, int | None]]:
    """Return each path with its object's size, or None if the size is not known."""
    return [(path, None) for path in paths] if sizes is None else list(zip(paths, sizes, strict=True))

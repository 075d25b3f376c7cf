"""Objects that are held whole: no more of them than they are meant to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def whole(pieces: Iterable[bytes], size: int | None) -> bytes:
    """An object's pieces as one.

    :param size: how many bytes they are to be. Of more, that many and one more are given, and no piece is taken
        after those; None for however many there are.
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
    """Each path with its object's size, or with None where none is known."""
    return [(path, None) for path in paths] if sizes is None else list(zip(paths, sizes, strict=True))

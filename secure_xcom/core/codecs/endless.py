"""Recognize a value without end, such as a list that contains itself. Imported only for very many parts."""

from __future__ import annotations

from itertools import chain
from typing import Any


def repeats(dicts: list[dict[str, Any]], lists: list[list[Any]], above: tuple[int, int]) -> bool:
    """Return whether the last level may be one container again and again.

    Each level of a value without end has many times the parts of the one before.

    :param above: how many of the dicts and lists are of the levels above it.
    """
    last = list(map(id, chain(dicts[above[0] :], lists[above[1] :])))
    known = set(last)
    return len(known) < len(last) or not known.isdisjoint(map(id, chain(dicts[: above[0]], lists[: above[1]])))

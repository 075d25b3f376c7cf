"""Find the globs that overlap with a glob, or cover it, without comparing it with each.

Two globs overlap only if one of the texts before their first wildcards is a prefix of the other, and one of the
texts after their last wildcards is a suffix of the other. So entries are indexed by both.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import product

from secure_xcom.core.access_policy.glob_relations import covers, overlap
from secure_xcom.core.access_policy.globs import head_of, tail_of

Entry = tuple[str, int]
"""A glob and its result."""


class GlobIndex:
    """An index of globs.

    :param globs: each is a glob and its result.
    """

    def __init__(self, globs: Iterable[Entry]) -> None:
        self._by_both: dict[tuple[str, str], list[tuple[str, int, bool]]] = {}
        for glob, result in globs:
            self._by_both.setdefault(_ends(glob), []).append((glob, result, _simple(glob)))
        self._by_head = _nested(self._by_both)
        self._by_tail = _nested((tail, head) for head, tail in self._by_both)
        self._heads = sorted(self._by_head)
        self._tails = sorted(self._by_tail)

    def overlapping(self, glob: str) -> Iterator[int]:
        """Yield the results of the globs that overlap with this one, in no order."""
        head, tail = _ends(glob)
        # A glob without a head is found by its tail.
        if head:
            places = ((end, other) for end in _meeting(self._heads, head) for other in self._tails_of(end, tail))
        else:
            places = ((other, end) for end in _meeting(self._tails, tail) for other in self._by_tail[end])
        # Two globs with one star each overlap if their ends do: the longer ends of both make a matching text.
        simple = _simple(glob)
        for place in places:
            for entry, result, alike in self._by_both[place]:
                if (simple and alike) or overlap(entry, glob):
                    yield result

    def covering(self, glob: str) -> Iterator[int]:
        """Yield the results of the globs that certainly match everything that this one matches, in no order."""
        head, tail = _ends(glob)
        heads = [text for text in _beginnings(head) if text in self._by_head]
        tails = [text for text in _beginnings(tail) if text in self._by_tail]
        for place in product(heads, tails):
            for entry, result, _ in self._by_both.get(place, ()):
                if covers(entry, glob):
                    yield result

    def _tails_of(self, head: str, tail: str) -> Iterator[str]:
        return _meeting(self._by_head[head], tail)


def _simple(glob: str) -> bool:
    return glob.count("*") == 1 and "?" not in glob


def _ends(glob: str) -> tuple[str, str]:
    """Return the glob's literal beginning and, reversed, its literal end."""
    return head_of(glob), tail_of(glob)[::-1]


def _beginnings(text: str) -> list[str]:
    return [text[:length] for length in range(len(text) + 1)]


def _nested(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    nested: dict[str, list[str]] = {}
    for outer, inner in sorted(pairs):
        nested.setdefault(outer, []).append(inner)
    return nested


def _meeting(listed: list[str], text: str) -> Iterator[str]:
    """Yield those of sorted, distinct texts that are prefixes of this text or start with it."""
    for beginning in _beginnings(text)[:-1]:
        position = bisect_left(listed, beginning)
        if position < len(listed) and listed[position] == beginning:
            yield beginning
    for position in range(bisect_left(listed, text), len(listed)):
        if not listed[position].startswith(text):
            return
        yield listed[position]

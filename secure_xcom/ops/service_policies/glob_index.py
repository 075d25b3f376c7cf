"""Which of many globs overlap with one, or cover it, without comparing it to each.

Two globs overlap only if of what stands before their first wildcards one is the beginning of the other, and of
what stands behind their last ones one is the end of the other. So entries are kept by both, one within the other.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import product

from secure_xcom.core.access_policy.globs import covers, head_of, overlap, tail_of

Entry = tuple[str, int]
"""A glob and what it leads to."""


class GlobIndex:
    """An index of globs.

    :param globs: each is a glob and what it leads to.
    """

    def __init__(self, globs: Iterable[Entry]) -> None:
        self._by_both: dict[tuple[str, str], list[tuple[str, int, bool]]] = {}
        for glob, leads_to in globs:
            self._by_both.setdefault(_ends(glob), []).append((glob, leads_to, _simple(glob)))
        self._by_head = _nested(self._by_both)
        self._by_tail = _nested((tail, head) for head, tail in self._by_both)
        self._heads = sorted(self._by_head)
        self._tails = sorted(self._by_tail)

    def overlapping(self, glob: str) -> Iterator[int]:
        """What the globs that overlap with this one lead to, in no order."""
        head, tail = _ends(glob)
        # A glob without a head could be anything by its head: then the tail tells more.
        if head:
            places = ((one, other) for one in _meeting(self._heads, head) for other in self._tails_of(one, tail))
        else:
            places = ((other, one) for one in _meeting(self._tails, tail) for other in self._by_tail[one])
        # Two globs of one star each overlap as soon as their ends do: the longer ones of both make a text.
        simple = _simple(glob)
        for place in places:
            for entry, leads_to, alike in self._by_both[place]:
                if (simple and alike) or overlap(entry, glob):
                    yield leads_to

    def covering(self, glob: str) -> Iterator[int]:
        """What the globs that surely take all that this one takes lead to, in no order."""
        head, tail = _ends(glob)
        heads = [text for text in _beginnings(head) if text in self._by_head]
        tails = [text for text in _beginnings(tail) if text in self._by_tail]
        for place in product(heads, tails):
            for entry, leads_to, _ in self._by_both.get(place, ()):
                if covers(entry, glob):
                    yield leads_to

    def _tails_of(self, head: str, tail: str) -> Iterator[str]:
        return _meeting(self._by_head[head], tail)


def _simple(glob: str) -> bool:
    return glob.count("*") == 1 and "?" not in glob


def _ends(glob: str) -> tuple[str, str]:
    """The glob's literal beginning and, reversed, its literal end."""
    return head_of(glob), tail_of(glob)[::-1]


def _beginnings(text: str) -> list[str]:
    return [text[:length] for length in range(len(text) + 1)]


def _nested(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for outer, inner in sorted(pairs):
        found.setdefault(outer, []).append(inner)
    return found


def _meeting(listed: list[str], text: str) -> Iterator[str]:
    """Of sorted, different texts those that begin with this one, and those that it begins with."""
    for beginning in _beginnings(text)[:-1]:
        at = bisect_left(listed, beginning)
        if at < len(listed) and listed[at] == beginning:
            yield beginning
    for at in range(bisect_left(listed, text), len(listed)):
        if not listed[at].startswith(text):
            return
        yield listed[at]

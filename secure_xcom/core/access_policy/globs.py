"""Globs of ids and keys: ``*`` is any characters, ``?`` is one, all else is itself, case counts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from secure_xcom.core.access_policy.field_types import WILDCARDS, is_glob


def matches(glob: str, text: str) -> bool:
    """Whether a glob takes a text."""
    head, star, tail = glob.partition("*")
    if "?" in glob or "*" in tail:
        return text.startswith(head_of(glob)) and _compiled(glob).fullmatch(text) is not None
    if not star:
        return text == glob
    return len(text) >= len(head) + len(tail) and text.startswith(head) and text.endswith(tail)


def head_of(glob: str) -> str:
    """What stands before the first wildcard."""
    return WILDCARDS.split(glob, maxsplit=1)[0]


def tail_of(glob: str) -> str:
    """What stands behind the last wildcard."""
    return WILDCARDS.split(glob)[-1]


@lru_cache(maxsize=8192)
def _compiled(glob: str) -> re.Pattern[str]:
    # Between two stars the shortest way to the next piece is as good as any, and a lookahead that was left is not
    # entered again: without it a glob of many stars takes time that grows with their number's power (fnmatch).
    pieces = [re.escape(piece).replace(r"\?", ".") for piece in re.sub(r"\*+", "*", glob).split("*")]
    first, *rest = pieces
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    lazy = "".join(f"(?=(?P<g{n}>.*?{piece}))(?P=g{n})" for n, piece in enumerate(middle))
    return re.compile(f"{first}{lazy}.*{last}", re.DOTALL)


class FirstMatch:
    """The first of many globs that takes a text, in little time however many there are.

    Globs are looked up by what stands before their first wildcard and behind their last one; only those that agree
    in both with the text are tried.

    :param globs: in order; each is a glob and what it leads to.
    """

    def __init__(self, globs: Iterable[tuple[str, int]]) -> None:
        self._exact: dict[str, tuple[int, int]] = {}
        self._by_ends: dict[tuple[str, str], list[tuple[int, str, int]]] = {}
        for place, (glob, leads_to) in enumerate(globs):
            if is_glob(glob):
                self._by_ends.setdefault((head_of(glob), tail_of(glob)), []).append((place, glob, leads_to))
            else:
                self._exact.setdefault(glob, (place, leads_to))
        self._lengths = sorted({(len(head), len(tail)) for head, tail in self._by_ends})

    def find(self, text: str) -> int | None:
        """What the first glob that takes the text leads to, or None."""
        best = self._exact.get(text)
        for before, behind in self._lengths:
            if before + behind <= len(text):
                for place, glob, leads_to in self._by_ends.get((text[:before], text[len(text) - behind :]), ()):
                    if (best is None or place < best[0]) and matches(glob, text):
                        best = (place, leads_to)
        return None if best is None else best[1]


def overlap(one: str, other: str) -> bool:
    """Whether there is a text that both globs take."""
    if not is_glob(one):
        return matches(other, one)
    if not is_glob(other):
        return matches(one, other)
    # Which ends of `other` can be reached after each character of `one`: a walk over both at once.
    reached = _over_stars(other, {0})
    for letter in one:
        if letter == "*":
            # Any part of `other` may be taken by this star.
            reached = set(range(min(reached), len(other) + 1))
            continue
        step = {at for at in reached if at < len(other) and other[at] == "*"}
        step |= {at + 1 for at in reached if at < len(other) and other[at] != "*" and _meet(letter, other[at])}
        reached = _over_stars(other, step)
        if not reached:
            return False
    return len(other) in reached


def _over_stars(glob: str, places: set[int]) -> set[int]:
    found = set(places)
    pending = list(places)
    while pending:
        at = pending.pop()
        if at < len(glob) and glob[at] == "*" and at + 1 not in found:
            found.add(at + 1)
            pending.append(at + 1)
    return found


def _meet(one: str, other: str) -> bool:
    return one == other or "?" in (one, other)


def covers(wide: str, narrow: str) -> bool:
    """Whether every text that the narrow glob takes is surely taken by the wide one. May miss some that are."""
    if not is_glob(narrow):
        return matches(wide, narrow)
    # Letters that no glob has stand for the wildcards' text: only the wide glob's own wildcards can take them.
    samples = (narrow.replace("*", filling).replace("?", "\ue000") for filling in ("", "\ue000", "\ue000\ue001"))
    return all(matches(wide, sample) for sample in samples)

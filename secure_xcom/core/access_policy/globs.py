"""Globs of ids and keys: ``*`` matches any characters, ``?`` one, everything else itself. Case-sensitive."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from secure_xcom.core.access_policy.field_types import WILDCARDS, is_glob


def matches(glob: str, text: str) -> bool:
    """Check whether a glob matches a text."""
    head, star, tail = glob.partition("*")
    if "?" in glob or "*" in tail:
        return text.startswith(head_of(glob)) and _compiled(glob).fullmatch(text) is not None
    if not star:
        return text == glob
    return len(text) >= len(head) + len(tail) and text.startswith(head) and text.endswith(tail)


def any_matches(globs: Iterable[str], text: str) -> bool:
    """Check whether one of the globs matches a text."""
    return any(matches(glob, text) for glob in globs)


def head_of(glob: str) -> str:
    """Return the text before the first wildcard."""
    return WILDCARDS.split(glob, maxsplit=1)[0]


def tail_of(glob: str) -> str:
    """Return the text after the last wildcard."""
    return WILDCARDS.split(glob)[-1]


@lru_cache(maxsize=8192)
def _compiled(glob: str) -> re.Pattern[str]:
    # Between two stars the shortest match of the next piece is as good as any, and a lookahead is not entered
    # again once it has matched. Without it, time grows exponentially with the number of stars (fnmatch).
    pieces = [re.escape(piece).replace(r"\?", ".") for piece in re.sub(r"\*+", "*", glob).split("*")]
    first, *rest = pieces
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    lazy = "".join(f"(?=(?P<g{n}>.*?{piece}))(?P=g{n})" for n, piece in enumerate(middle))
    return re.compile(f"{first}{lazy}.*{last}", re.DOTALL)


class FirstMatch:
    """The first of many globs that matches a text, found without trying each of them.

    Globs are indexed by the text before their first wildcard and after their last one. Only globs that agree with
    the text in both are tried.

    :param globs: in order; each is a glob and its result.
    """

    def __init__(self, globs: Iterable[tuple[str, int]]) -> None:
        self._exact: dict[str, tuple[int, int]] = {}
        self._by_ends: dict[tuple[str, str], list[tuple[int, str, int]]] = {}
        for place, (glob, result) in enumerate(globs):
            if is_glob(glob):
                self._by_ends.setdefault((head_of(glob), tail_of(glob)), []).append((place, glob, result))
            else:
                self._exact.setdefault(glob, (place, result))
        self._lengths = sorted({(len(head), len(tail)) for head, tail in self._by_ends})

    def find(self, text: str) -> int | None:
        """Return the result of the first glob that matches the text, or None."""
        best = self._exact.get(text)
        for before, behind in self._lengths:
            if before + behind <= len(text):
                for place, glob, result in self._by_ends.get((text[:before], text[len(text) - behind :]), ()):
                    if (best is None or place < best[0]) and matches(glob, text):
                        best = (place, result)
        return None if best is None else best[1]


def overlap(left: str, right: str) -> bool:
    """Check whether some text matches both globs."""
    if not is_glob(left):
        return matches(right, left)
    if not is_glob(right):
        return matches(left, right)
    # Walk over both at once: which positions of `right` can be reached after each character of `left`.
    reached = _over_stars(right, {0})
    for letter in left:
        if letter == "*":
            # This star can match any part of `right`.
            reached = set(range(min(reached), len(right) + 1))
            continue
        step = {index for index in reached if index < len(right) and right[index] == "*"}
        step |= {
            index + 1
            for index in reached
            if index < len(right) and right[index] != "*" and _meet(letter, right[index])
        }
        reached = _over_stars(right, step)
        if not reached:
            return False
    return len(right) in reached


def _over_stars(glob: str, positions: set[int]) -> set[int]:
    reached = set(positions)
    pending = list(positions)
    while pending:
        index = pending.pop()
        if index < len(glob) and glob[index] == "*" and index + 1 not in reached:
            reached.add(index + 1)
            pending.append(index + 1)
    return reached


def _meet(left: str, right: str) -> bool:
    return left == right or "?" in (left, right)


def covers(wide: str, narrow: str) -> bool:
    """Check whether the wide glob matches every text that the narrow one matches. False may be a miss."""
    if not is_glob(narrow):
        return matches(wide, narrow)
    # Private-use characters stand for the text of wildcards: only wildcards of the wide glob can match them.
    samples = (narrow.replace("*", filling).replace("?", "\ue000") for filling in ("", "\ue000", "\ue000\ue001"))
    return all(matches(wide, sample) for sample in samples)

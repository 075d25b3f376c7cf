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

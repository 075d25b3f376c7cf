"""Suggest the name that was probably meant, for an error about one that does not exist.

Only a fault loads this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# Two letters of six may differ; a name that differs more is probably another one.
_LIKE = 0.6


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like another one, whatever its case and dashes; None if none is."""
    by_folded = {_folded(candidate): candidate for candidate in known}
    like = get_close_matches(_folded(name), by_folded, n=1, cutoff=_LIKE)
    return by_folded[like[0]] if like else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return what to do about an unknown name: the question whether another was meant, then something else.

    :param otherwise: what to do if none is like it, without a full stop.
    """
    like = closest(name, known)
    return f"did you mean {like!r}? Otherwise {otherwise}" if like else otherwise


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")

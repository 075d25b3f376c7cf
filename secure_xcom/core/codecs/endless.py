"""Recognize a value without end, such as a list that contains itself. Imported only for very many parts."""

from __future__ import annotations

from itertools import chain
from typing import Any

from secure_xcom.core.codecs.plain_json import Parts


def repeats(dicts: list[dict[str, Any]], lists: list[list[Any]], above: Parts) -> bool:
    """Return whether a level may be one container again and again.

    Each level of a value without end has many times the parts of the one before.

    :param above: the parts of the levels above it.
    """
    known = set(map(id, chain(dicts, lists)))
    return len(known) < len(dicts) + len(lists) or not known.isdisjoint(map(id, chain(above.dicts, above.lists)))

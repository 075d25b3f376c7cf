"""Rows that are nested too deeply to be written again."""

from __future__ import annotations


def is_deep(value: object, levels: int) -> bool:
    """Return whether lists and objects are nested more than this many levels deep.

    No part of a reference is nested deeply. Who can write to the database can nest its preview, which is not
    read back, as deeply as a parser takes it; what writes it again has less of Python's stack left.
    """
    level: list[object] = [value]
    for _ in range(levels):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return any(isinstance(node, dict | list) for node in level)

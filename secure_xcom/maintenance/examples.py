"""What a report names of many: the first few."""

from __future__ import annotations

EXAMPLES = 20
"""How many of each kind a report names."""


def name_one(named: list[str], text: str) -> None:
    """Name one more, if there is room for it."""
    if len(named) < EXAMPLES:
        named.append(text)

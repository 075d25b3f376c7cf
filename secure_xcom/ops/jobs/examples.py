"""What a report names of many: the first few."""

from __future__ import annotations

EXAMPLES = 20
"""How many of each kind a report names, unless more are asked for."""


def name_one(named: list[str], text: str, limit: int = EXAMPLES) -> None:
    """Name one more, if there is room for it."""
    if len(named) < limit:
        named.append(text)

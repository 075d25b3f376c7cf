"""How a job tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, "int | None"], None]
"""Told what is being done, how much of it is done, and how much there is, if that is known."""


def silent(_doing: str, _done: int, _of: int | None) -> None:
    """Tell nobody."""

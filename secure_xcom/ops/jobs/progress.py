"""Report the progress of a job."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, "int | None"], None]
"""Takes what is being done, how much of it is done, and the total if it is known."""


def silent(_doing: str, _done: int, _of: int | None) -> None:
    """Report nothing."""

"""Limit how fast a job deletes."""

from __future__ import annotations

import time


class Pace:
    """Limits deletions per second, counted from its creation; 0 means no limit."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._begun = time.monotonic()
        self._done = 0

    def batch(self, largest: int) -> int:
        """Return the batch size, so that no batch waits for long."""
        return max(1, min(largest, int(self._rate))) if self._rate else largest

    def did(self, count: int) -> None:
        """Count deletions, and wait until the rate allows them."""
        self._done += count
        if self._rate:
            time.sleep(max(0.0, self._begun + self._done / self._rate - time.monotonic()))

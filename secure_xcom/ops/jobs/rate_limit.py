"""How fast a job may delete."""

from __future__ import annotations

import time


class Pace:
    """At most so many a second, counted from now on; 0 for as many as there are."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._begun = time.monotonic()
        self._done = 0

    def batch(self, largest: int) -> int:
        """How many to do at a time, so that none of them waits long for its turn."""
        return max(1, min(largest, int(self._rate))) if self._rate else largest

    def did(self, count: int) -> None:
        """Wait until so many more may have been done."""
        self._done += count
        if self._rate:
            time.sleep(max(0.0, self._begun + self._done / self._rate - time.monotonic()))

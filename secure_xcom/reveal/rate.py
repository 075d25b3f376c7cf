"""Limit the number of XComs that a person may ask for in a minute."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from secure_xcom.core.operator_errors import RevealRateExceeded

PER_MINUTE = 10
_WINDOW_SECONDS = 60.0
# Each entry has at most PER_MINUTE numbers.
PERSONS_MAX = 10_000


@dataclass(slots=True)
class _Minute:
    """The times of a person's requests in the last minute, and whether one was refused since the last of them."""

    times: deque[float] = field(default_factory=deque)
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Excess:
    """One request too many.

    :ivar first: the first since the last that was allowed: it is recorded, and the others are not, so that nobody
        fills the access log.
    """

    error: RevealRateExceeded
    first: bool


class RateLimit:
    """Counts the requests of each person within the last minute, in this process.

    :param now: a monotonic clock, in seconds.
    :param persons_max: of how many persons the requests are known; those who asked longest ago are forgotten.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic, persons_max: int = PERSONS_MAX) -> None:
        self._now = now
        self._persons_max = persons_max
        self._lock = threading.Lock()
        self._minutes: OrderedDict[str, _Minute] = OrderedDict()

    def count(self, person: str) -> Excess | None:
        """Count a request, unless the person has made too many."""
        now = self._now()
        with self._lock:
            minute = self._minutes.setdefault(person, _Minute())
            self._minutes.move_to_end(person)
            while minute.times and minute.times[0] <= now - _WINDOW_SECONDS:
                minute.times.popleft()
            if len(minute.times) >= PER_MINUTE:
                first, minute.refused = not minute.refused, True
                error = RevealRateExceeded(
                    f"{PER_MINUTE} XComs were asked for within a minute",
                    where=f"{person!r:.200}",
                    remedy=f"wait {int(minute.times[0] + _WINDOW_SECONDS - now) + 1} seconds",
                )
                return Excess(error, first)
            minute.times.append(now)
            minute.refused = False
            while len(self._minutes) > self._persons_max:
                self._minutes.popitem(last=False)
            return None

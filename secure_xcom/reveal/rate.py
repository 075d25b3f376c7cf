"""How many XComs a person may ask for in a minute."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from secure_xcom.core.errors import RevealRateExceeded

PER_MINUTE = 10
_WINDOW_SECONDS = 60.0
# Each entry has at most PER_MINUTE numbers.
PERSONS_MAX = 10_000


class RateLimit:
    """Counts the requests of each person within the last minute, in this process.

    :param now: a monotonic clock, in seconds.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, person: str) -> None:
        """Count a request.

        :raises RevealRateExceeded: the person has made too many, and this one is not counted.
        """
        now = self._now()
        with self._lock:
            times = self._times.setdefault(person, deque())
            self._times.move_to_end(person)
            while times and times[0] <= now - _WINDOW_SECONDS:
                times.popleft()
            if len(times) >= PER_MINUTE:
                raise RevealRateExceeded(
                    f"{PER_MINUTE} XComs were asked for within a minute",
                    where=f"{person!r:.200}",
                    remedy=f"wait {int(times[0] + _WINDOW_SECONDS - now) + 1} seconds",
                )
            times.append(now)
            while len(self._times) > PERSONS_MAX:
                self._times.popitem(last=False)

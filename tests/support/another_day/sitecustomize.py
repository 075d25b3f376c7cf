"""Sleeps that end under Debian's faketime, for every Python process of scripts/test-another-day.

From Python 3.11 on, timed waits and sleeps name their end on the monotonic clock. libfaketime 0.9.10 knows some
of these calls: with a faked monotonic clock the waits last as long as the date is moved, and without one, a
sleep is an invalid argument. So that clock is left as it is, and a sleep waits for no file instead.
"""

import select
import time


def _sleep(seconds: float, /) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = _sleep  # type: ignore[assignment]

"""Stop the clock of the package, so that no test depends on the day on which it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

from secure_xcom.core import clock


@contextmanager
def stopped(moment: datetime) -> Iterator[None]:
    """Stop the clock of this process at a time.

    :param moment: an aware time; every `clock.now` inside the block returns it.
    """
    clock._stopped.append(moment.astimezone(timezone.utc))
    try:
        yield
    finally:
        clock._stopped.pop()

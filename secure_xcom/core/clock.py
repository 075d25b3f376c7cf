"""The one clock of the package, and the form of an event's time.

Everything that compares a stored time with the present asks `now`, so that a test can say what the present is
instead of depending on the day on which it runs: only tests fill ``_stopped``, the last of which counts.
"""

from __future__ import annotations

from datetime import datetime, timezone

_stopped: list[datetime] = []


def now() -> datetime:
    """Return the present in UTC, with microseconds."""
    return _stopped[-1] if _stopped else datetime.now(timezone.utc)


def text_of(moment: datetime) -> str:
    """Return a time in the form that events have: UTC, with microseconds."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def time_of(text: str) -> datetime:
    """Return the time of an event. What is not a time counts as long past."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return datetime(2000, 1, 1, tzinfo=timezone.utc)

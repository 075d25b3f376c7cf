"""The times that heads and claims have, and when an XCom expires, for jobs and those who show it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from secure_xcom.core.reference import TIME_FORMAT, Head


def expiry_of(head: Head, lasts: int | None) -> datetime | None:
    """Return when an XCom expires; None if it never does.

    :param lasts: the retention of today, in seconds, for a head that was made when there was none.
    """
    if head.expires is not None:
        return moment_of(head.expires)
    try:
        return None if lasts is None else moment_of(head.created) + timedelta(seconds=lasts)
    except OverflowError:
        # Who wrote the row says that it was made at the end of the year 9999.
        return None


def moment_of(text: str) -> datetime:
    """Return a time in the form of `TIME_FORMAT`."""
    return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=timezone.utc)

"""When an XCom expires, for those who show it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from secure_xcom.core.reference import TIME_FORMAT, Head


def expiry_of(head: Head, lasts: int | None) -> datetime | None:
    """Return when an XCom expires; None if it never does.

    :param lasts: the retention of today, in seconds, for a head that was made when there was none.
    """
    if head.expires is not None:
        return _moment(head.expires)
    try:
        return None if lasts is None else _moment(head.created) + timedelta(seconds=lasts)
    except OverflowError:
        # Who wrote the row says that it was made at the end of the year 9999.
        return None


def _moment(text: str) -> datetime:
    return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=timezone.utc)

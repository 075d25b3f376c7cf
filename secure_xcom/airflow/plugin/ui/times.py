"""Times as the page has them: RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime, timezone

from secure_xcom.core.operator_errors import RequestInvalid


def text_of(time: datetime | None) -> str | None:
    """Return a time's text, None where there is none."""
    if time is None:
        return None
    aware = time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)
    form = "%Y-%m-%dT%H:%M:%S.%fZ" if aware.microsecond else "%Y-%m-%dT%H:%M:%SZ"
    return aware.astimezone(timezone.utc).strftime(form)


def time_of(text: str | None, where: str) -> datetime | None:
    """Return the time that a parameter names; without an offset it is UTC.

    :raises RequestInvalid: it is none.
    """
    if not text:
        return None
    try:
        # Python 3.10 reads no Z.
        time = datetime.fromisoformat(text.removesuffix("Z") + ("+00:00" if text.endswith("Z") else ""))
        return (time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise RequestInvalid(
            f"`{where}` is not a time", where=where, remedy="write it like 2026-12-01T08:00:00Z"
        ) from None

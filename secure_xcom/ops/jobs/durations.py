"""Read durations such as ``24h``."""

from __future__ import annotations

from datetime import timedelta


def duration(text: str, option: str) -> timedelta:
    """Return a duration such as ``24h``.

    :param option: the option that holds it, for the error.
    :raises CommandError: it has another form.
    """
    from secure_xcom.core.access_policy.field_types import seconds
    from secure_xcom.core.operator_errors import CommandError

    try:
        return timedelta(seconds=seconds(text))
    except ValueError:
        raise CommandError(
            "not a duration", where=option, remedy="write a number and s, m, h, d or w, as in 24h"
        ) from None

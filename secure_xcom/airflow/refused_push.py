"""Leave no payload behind for a row that Airflow's API server does not take.

The backend puts the payload before Airflow sends the row. Some keys never become a row, and are refused before the
put. Other refusals are only known from the API server's answer: the payload is then deleted again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import CoordinateInvalid

# The SDK writes the key into a path as it is (airflow/sdk/api/client.py, XComOperations.set), and httpx refuses
# these (httpx/_urlparse.py). In Airflow 3.1 that ends the supervisor, so nobody could delete a payload afterwards.
_NOT_IN_A_URL = re.compile(r"[\x00-\x1f\x7f]")
# What says that the row was not written. 401 and 429 may answer the second try of a request that was done.
_REFUSALS = frozenset({400, 403, 404, 405, 409, 413, 414, 422})


def check_key(coordinate: Coordinate) -> None:
    """Check that the SDK's request for a row would reach the row of this key.

    :raises CoordinateInvalid: it would not be sent, would name no key, or would name another task's row.
    """
    key = coordinate.key
    if _NOT_IN_A_URL.search(key):
        what = "the key has a line break or another control character, which Airflow's API server never receives"
    elif not _stays_a_key(key):
        what = "the key cannot be part of a URL, so Airflow's API server would refuse it or use another task's row"
    else:
        return
    raise CoordinateInvalid(
        what,
        where=str(coordinate),
        remedy="use a key of letters, digits, '_', '-' and '.', other than '.' and '..'",
    )


def _stays_a_key(key: str) -> bool:
    """Resolve the segments ``.`` and ``..`` as httpx does, and check that a key remains below the task."""
    kept: list[str] = []
    path = re.split("[?#]", key, maxsplit=1)[0]
    for segment in path.split("/"):
        if segment == "..":
            if not kept:
                return False
            kept.pop()
        elif segment != ".":
            kept.append(segment)
    return any(kept)


@contextmanager
def payload_of_refused_row_deleted(delete: Callable[[], object]) -> Iterator[None]:
    """Send a row; call `delete` if the API server answers that it does not take it. gc is for other failures."""
    try:
        yield
    except Exception as error:
        # The second: no request could be made of it. `dag.test()` cannot send a key beyond ASCII.
        if _status(error) in _REFUSALS or isinstance(error, UnicodeError):
            delete()
        raise


def _status(error: Exception) -> object:
    """Return the HTTP status of Airflow's errors: that of a task (ErrorResponse), or of its client (dag.test)."""
    detail = getattr(getattr(error, "error", None), "detail", None)
    if isinstance(detail, dict):
        return detail.get("status_code")
    return getattr(getattr(error, "response", None), "status_code", None)

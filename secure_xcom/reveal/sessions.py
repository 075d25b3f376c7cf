"""Sessions of people, in this process's memory: random bearer tokens that are good here, for a while.

Whoever stops the service ends all of them. Tokens are kept and compared as hashes, so that the time of a look-up
says nothing of a token.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from secure_xcom.core.operator_errors import IdentityRefused
from secure_xcom.reveal.identity_tokens import Person, bearer_token
from secure_xcom.reveal.site import Session

SESSIONS_MAX = 10_000
_TOKEN_BYTES = 32


class Sessions:
    """Begins sessions, and tells whose a token is. Threads may share it.

    :param seconds: how long a session lasts; None for as long as the process.
    :param now: a monotonic clock, in seconds.
    """

    def __init__(self, seconds: int | None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._lock = threading.Lock()
        self._sessions: OrderedDict[bytes, tuple[Person, float]] = OrderedDict()

    def begin(self, person: Person) -> Session:
        """Return a new session of a person. Of too many, the oldest ends."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        until = float("inf") if self._seconds is None else self._now() + self._seconds
        with self._lock:
            while self._sessions and next(iter(self._sessions.values()))[1] <= self._now():
                self._sessions.popitem(last=False)
            self._sessions[_hash(token)] = (person, until)
            while len(self._sessions) > SESSIONS_MAX:
                self._sessions.popitem(last=False)
        return Session(token, person.name, self._seconds)

    def person(self, authorization: str) -> Person:
        """Return whose session a request's header proves.

        :param authorization: the header ``Authorization``.
        :raises IdentityRefused: it has no token of a session that lasts.
        """
        token = bearer_token(authorization)
        with self._lock:
            person, until = self._sessions.get(_hash(token), (None, 0.0))
        if person is None or until <= self._now():
            raise IdentityRefused("the session has ended, or there was none", where="Authorization")
        return person


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()

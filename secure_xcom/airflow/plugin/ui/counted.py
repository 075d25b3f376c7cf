"""What maintenance has counted, as the page uses it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from secure_xcom import numbers
from secure_xcom.numbers import Numbers

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_SECONDS = 60.0


@dataclass(frozen=True)
class Counted:
    """The numbers of every compartment.

    :ivar made: whether the table is there.
    :ivar newest: the newest version of each wrapping key that any wrap names, by key URI.
    """

    made: bool = False
    every: Mapping[str, Numbers] = field(default_factory=dict)
    newest: Mapping[str, int] = field(default_factory=dict)

    @property
    def time(self) -> datetime | None:
        """The time of the count."""
        return max((entry.counted for entry in self.every.values() if entry.counted is not None), default=None)

    def first_sealed(self, compartment: str | None) -> datetime | None:
        """Return when the first XCom of a compartment was sealed, of those that were there at the count."""
        entry = self.every.get(compartment or "")
        return None if entry is None else entry.first_pushed


class _Cache:
    """The numbers as they were read last: they change once a day, and every answer needs them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._of: object = None
        self._counted = Counted()

    def get(self, session: Session) -> Counted:
        bind = session.get_bind()
        of = getattr(bind, "engine", bind)
        with self._lock:
            if of is not self._of or time.monotonic() > self._until:
                self._counted = _read(session)
                self._of, self._until = of, time.monotonic() + _SECONDS
            return self._counted

    def forget(self) -> None:
        with self._lock:
            self._until = 0.0


_CACHE = _Cache()
forget = _CACHE.forget
"""Read the numbers anew for the next answer."""


def counted(session: Session) -> Counted:
    """Return the numbers, at most a minute old."""
    return _CACHE.get(session)


def _read(session: Session) -> Counted:
    connection = session.connection()
    if not numbers.is_made(connection):
        return Counted()
    every = {entry.compartment: entry for entry in numbers.read(connection)}
    newest: dict[str, int] = {}
    for entry in every.values():
        for uri, (_, latest) in entry.versions.items():
            newest[uri] = max(latest, newest.get(uri, latest))
    return Counted(True, every, newest)

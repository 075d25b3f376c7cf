"""Values of one process, which a forked child must not share with its parent.

A fork copies locks as they are, also those that a thread holds which the child does not have; and threads,
connections and sessions belong to the parent.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_known: weakref.WeakSet[Any] = weakref.WeakSet()


class PerProcess(Generic[V]):
    """A value that each process makes when it first asks for it, on one thread.

    :param make: makes it.
    :param disown: is given the parent's value in a forked child, before the child makes its own.
    """

    _made: tuple[()] | tuple[V]

    def __init__(self, make: Callable[[], V], *, disown: Callable[[V], None] | None = None) -> None:
        self._make = make
        self._disown = disown
        self._inherited: list[V] = []
        self.forget()
        _known.add(self)

    def get(self) -> V:
        """Return this process's value."""
        with self._lock:
            while self._inherited and self._disown is not None:
                self._disown(self._inherited.pop())
            if not self._made:
                self._made = (self._make(),)
            return self._made[0]

    def forget(self) -> None:
        """Make the value anew when it is next asked for. What holds the old one keeps it."""
        self._lock = threading.RLock()
        self._made = ()

    def begin_process(self) -> None:
        """Forget the parent's value in a forked child."""
        if self._disown is not None:
            # Kept until then, because its end may speak over the parent's connections.
            self._inherited += self._made
        self.forget()


class PerProcessEach(Generic[K, V]):
    """A value for each key, such as a client for each connection, that each process makes once.

    :param make: makes it from its key.
    """

    def __init__(self, make: Callable[[K], V]) -> None:
        self._make = make
        self.forget()
        _known.add(self)

    def get(self, key: K) -> V:
        """Return this process's value for a key."""
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(key)
            return self._made[key]

    def begin_process(self) -> None:
        """Forget the parent's values in a forked child."""
        self.forget()

    def forget(self) -> None:
        """Make the values anew when they are next asked for. What holds an old one keeps it."""
        self._lock = threading.RLock()
        self._made: dict[K, V] = {}


def _begin_process() -> None:
    for value in list(_known):
        value.begin_process()


os.register_at_fork(after_in_child=_begin_process)

"""Values of one process, which a forked child must not share with its parent.

A fork copies locks in their current state, including those held by threads that do not exist in the child;
threads, connections and sessions belong to the parent.

No lock is held while a value is made, because that may ask Airflow (`secure_xcom.core.waiting`). Where two callers
that may not wait for each other make the same value, both get the one that was there first.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from secure_xcom.core.waiting import SharedCalls

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_known: weakref.WeakSet[Any] = weakref.WeakSet()


class MadeOnce(Generic[K, V]):
    """A value for each key, which is made when it is first asked for.

    :param make: makes it from its key.
    """

    def __init__(self, make: Callable[[K], V]) -> None:
        self._make = make
        self.made: dict[K, V] = {}
        self._calls: SharedCalls[K, V] = SharedCalls()

    def get(self, key: K) -> V:
        """Return the value of a key."""
        try:
            return self.made[key]
        except KeyError:
            return self._calls.call(key, lambda: self._new(key))

    def _new(self, key: K) -> V:
        # Another thread may have made it since it was looked for; `setdefault` gives everybody the same one.
        return self.made[key] if key in self.made else self.made.setdefault(key, self._make(key))


class unlocked_property(Generic[V]):  # noqa: N801  # named as `functools.cached_property` is
    """A property that is made when it is first asked for and then kept.

    Up to Python 3.11 `functools.cached_property` holds one lock for all instances while a value is made.
    """

    def __init__(self, make: Callable[[Any], V]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> V:
        """Return the value. Afterwards the instance's own attribute hides this one."""
        value: V = instance.__dict__.setdefault(self._make.__name__, self._make(instance))
        return value


class PerProcess(Generic[V]):
    """A value that each process makes when it first asks for it, on one thread.

    :param make: makes it.
    :param disown: is given the parent's value in a forked child, before the child makes its own.
    """

    def __init__(self, make: Callable[[], V], *, disown: Callable[[V], None] | None = None) -> None:
        self._make = make
        self._disown = disown
        self._inherited: list[V] = []
        self.forget()
        _known.add(self)

    def get(self) -> V:
        """Return this process's value."""
        while self._inherited and self._disown is not None:
            self._disown(self._inherited.pop())
        return self._value.get(None)

    def forget(self) -> None:
        """Make the value anew when it is next asked for. What holds the old one keeps it."""
        self._value: MadeOnce[None, V] = MadeOnce(lambda _: self._make())

    def begin_process(self) -> None:
        """Forget the parent's value in a forked child."""
        if self._disown is not None:
            # Kept until then, because its end may speak over the parent's connections.
            self._inherited += self._value.made.values()
        self.forget()


def _begin_process() -> None:
    for value in list(_known):
        value.begin_process()


os.register_at_fork(after_in_child=_begin_process)

"""Wait for another thread or another trigger without blocking an event loop that it may need.

All triggers of a triggerer run on one thread. A call that asks Airflow for something, such as a connection or to
mask a secret, lets the other triggers continue meanwhile, through a greenback portal; on any other thread such a
call is answered by that one. In a task's process, Airflow answers async calls with the event loop and its default
threads. So nothing here holds a lock while something else is called, and whoever has to wait does it in a way that
lets an event loop continue, or not for ever.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from secure_xcom.core.errors import SecureXComError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

WAIT_SECONDS = 60.0
"""How long a thread waits for another one before it does the same itself: the longest request to a key service."""

BLOCKED_LOOP_SECONDS = 2.0
"""How long an event loop may be blocked where no portal lets it continue."""


def wait(done: Future[Any], *, thread: int, seconds: float = WAIT_SECONDS) -> bool:
    """Return whether it is done, after waiting for it as the calling thread may.

    :param thread: the thread that does it. The caller's own thread does nothing while it is blocked.
    """
    if done.done():
        return True
    on_loop = _runs_loop()
    greenback = sys.modules.get("greenback")
    if on_loop and greenback is not None and greenback.has_portal():
        greenback.await_(_until(done, seconds))
    elif thread != threading.get_ident():
        wait_for_futures([done], timeout=min(seconds, BLOCKED_LOOP_SECONDS) if on_loop else seconds)
    return done.done()


def _runs_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _until(done: Future[Any], seconds: float) -> None:
    # `asyncio.wait` cancels nothing where the trigger that waits is cancelled.
    await asyncio.wait([asyncio.wrap_future(done)], timeout=seconds)


class _Flight(Generic[V]):
    """A call that is under way, and what it gave."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.done: Future[None] = Future()
        self.value: tuple[()] | tuple[V] = ()
        self.error: SecureXComError | None = None


class SharedCalls(Generic[K, V]):
    """Make a call once for all who ask for the same at the same time.

    It is made twice where one of them may not wait for the other, so it must do no harm twice.
    """

    def __init__(self) -> None:
        # Held while the dictionary is read and written only. A signal handler may come in between.
        self._lock = threading.RLock()
        self._flights: dict[K, _Flight[V]] = {}

    def call(self, key: K, function: Callable[[], V]) -> V:
        """Return what the function gives, to this caller or to another one that asks for the same key now.

        :raises SecureXComError: the function's, to all of them.
        """
        while True:
            with self._lock:
                mine: _Flight[V] = _Flight()
                flight = self._flights.setdefault(key, mine)
            if flight is mine:
                return self._make(key, mine, function)
            if not wait(flight.done, thread=flight.thread):
                return function()
            if flight.value:
                return flight.value[0]
            if flight.error is not None:
                raise flight.error
            # What ended the other call, such as a timeout of its task, is not this caller's concern.

    def _make(self, key: K, mine: _Flight[V], function: Callable[[], V]) -> V:
        try:
            value = function()
            mine.value = (value,)
        except SecureXComError as error:
            mine.error = error
            raise
        finally:
            with self._lock:
                del self._flights[key]
            mine.done.set_result(None)
        return value


class NoTurn(Exception):
    """It is somebody else's turn, and this caller may not wait for its end.

    :ivar own: the turn is the caller's own: a signal handler came in between.
    """

    def __init__(self, *, own: bool) -> None:
        super().__init__()
        self.own = own


class _Turn:
    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.trigger = _current_trigger()
        self.given: Future[None] = Future()


class Turns:
    """Give each caller a turn of its own, in order."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._current: _Turn | None = None
        self._waiting: deque[_Turn] = deque()

    @contextmanager
    def turn(self, seconds: float) -> Iterator[None]:
        """Wait for a turn, which lasts for this block.

        :raises NoTurn: it does not come in time, or can never come.
        """
        mine = _Turn()
        with self._lock:
            current = self._current
            if current is None:
                self._current = mine
            elif (current.thread, current.trigger) == (mine.thread, mine.trigger):
                raise NoTurn(own=True)
            else:
                self._waiting.append(mine)
        try:
            if current is not None and not wait(mine.given, thread=current.thread, seconds=seconds):
                raise NoTurn(own=False)
            yield
        finally:
            self._end(mine)

    def _end(self, mine: _Turn) -> None:
        with self._lock:
            if self._current is not mine:
                self._waiting.remove(mine)
                return
            following = self._current = self._waiting.popleft() if self._waiting else None
        if following is not None:
            following.given.set_result(None)


def _current_trigger() -> int:
    """Return what tells apart those who run on one thread by turns: the asyncio task, where there is one."""
    try:
        return id(asyncio.current_task())
    except RuntimeError:
        return 0

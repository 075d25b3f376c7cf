"""Async pushes and pulls: on threads of their own, and with nothing left behind where they are cancelled.

Airflow's `asend` reads its answers on one of the event loop's few default threads. Pushes and pulls that wait
there for a connection, which Airflow has to give as well, would take them all.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from secure_xcom.airflow import task_context
from secure_xcom.airflow.refused_push import payload_of_refused_row_deleted
from secure_xcom.connections import in_triggerer
from secure_xcom.core.per_process import PerProcess

log = logging.getLogger(__name__)

T = TypeVar("T")

_threads = PerProcess(lambda: ThreadPoolExecutor(8, thread_name_prefix="secure_xcom_async"))

TAKE_BACK_SECONDS = 30.0
"""How long a process that ends waits for the payloads of cancelled pushes to be deleted. gc deletes what stays."""


def in_thread(call: Callable[[], T]) -> asyncio.Future[T]:
    """Make a call on a thread of our own, as the task or trigger that calls."""
    return asyncio.wrap_future(_begin(call))


async def sealed(push: Callable[[], T], take_back: Callable[[T], object]) -> T:
    """Seal a value on a thread of our own.

    :param take_back: deletes the payload where nobody waits for the push any more: a thread cannot be stopped, so
        it goes on to put a payload that no row will name.
    """
    pushing = _begin(push)
    try:
        return await asyncio.wrap_future(pushing)
    except asyncio.CancelledError:
        _undo(lambda: _take_back_pushed(pushing, take_back))
        raise


async def sent(send: Callable[[], Awaitable[None]], take_back: Callable[[], object]) -> None:
    """Send a row to Airflow completely or not at all, even if cancelled.

    What is cancelled while it waits for its turn is not sent, and its payload is deleted. What was begun is sent
    to its end before the cancellation is passed on, because nobody can tell whether Airflow has it.

    :param take_back: deletes the payload of a row that was not sent, or that Airflow refuses.
    """
    begun = False

    async def in_turn() -> None:
        nonlocal begun
        # Airflow answers the requests of a task one after the other, and those of triggers at once.
        async with _Unlocked() if in_triggerer() else _turn():
            begun = True
            with payload_of_refused_row_deleted(lambda: _undo(take_back)):
                await send()

    sending = asyncio.ensure_future(in_turn())
    try:
        await asyncio.shield(sending)
    except asyncio.CancelledError:
        if begun:
            await _end_of(sending)
        else:
            sending.cancel()
            _undo(take_back)
        raise


class _Unlocked:
    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        return None


# An asyncio lock: who waits for it lets the event loop continue.
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def _turn() -> asyncio.Lock:
    return _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())


async def _end_of(sending: asyncio.Future[None]) -> None:
    """Wait for a row that is being sent, however often the push is cancelled.

    Airflow's `asend` must not be cancelled while it takes the lock of its channel, which nobody would release.
    """
    while not sending.done():
        try:
            await asyncio.wait([sending])
        except asyncio.CancelledError:
            continue
    if not sending.cancelled() and (error := sending.exception()) is not None:
        log.warning("Airflow did not take the row of a cancelled push: %s", type(error).__name__)


def _begin(call: Callable[[], T]) -> Future[T]:
    return _threads.get().submit(task_context.for_thread().run, call)


def _take_back_pushed(pushing: Future[T], take_back: Callable[[T], object]) -> None:
    # Of a push that has not begun or that failed there is nothing.
    if not pushing.cancelled() and pushing.exception() is None:
        take_back(pushing.result())


_undoing: PerProcess[set[Future[Any]]] = PerProcess(set)


def _undo(call: Callable[[], object]) -> None:
    undoing = _undoing.get()
    if not undoing:
        # Airflow ends a task's process without waiting for threads, but calls what was registered in it.
        atexit.unregister(_finish)
        atexit.register(_finish)
    future = _begin(call)
    undoing.add(future)
    future.add_done_callback(undoing.discard)


def _finish() -> None:
    wait_for_futures(list(_undoing.get()), timeout=TAKE_BACK_SECONDS)

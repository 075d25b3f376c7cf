"""Values that are made once while Airflow is asked: by threads, by triggers of one event loop, after a fork."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import greenback
import pytest

from secure_xcom.core import waiting
from secure_xcom.core.per_process import MadeOnce, PerProcess, unlocked_property
from secure_xcom.core.store_errors import StoreUnavailable
from secure_xcom.core.waiting import NoTurn, Turns

SECONDS = 20


def finishes(scenario: Callable[[], Awaitable[Any]]) -> Any:
    """Run it on an event loop of its own thread, because what must not happen is that it blocks for ever."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(asyncio.run(scenario())), daemon=True)  # type: ignore[arg-type]
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), "the event loop is blocked"
    return results[0]


async def triggers(call: Callable[[int], Any], count: int = 4) -> list[Any]:
    """Call it as a triggerer does: on one thread, each on an asyncio task with a portal to the event loop."""

    async def run(number: int) -> Any:
        await greenback.ensure_portal()
        return call(number)

    return list(await asyncio.gather(*map(run, range(count))))


class Asking:
    """Makes a value as one that asks Airflow for a connection: other triggers run meanwhile."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, *_: object) -> object:
        self.made += 1
        ask = asyncio.sleep(0.05)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(ask)
        else:
            greenback.await_(ask)
        return object()


@pytest.mark.parametrize("of", ["each", "process", "process each", "property"])
def test_triggers_that_block_share_what_one_of_them_makes(of: str) -> None:
    """Four triggers that ask at the same time get one value, and none of them stops the others."""
    asking = Asking()
    process: PerProcess[object] = PerProcess(asking)
    each: PerProcess[MadeOnce[str, object]] = PerProcess(lambda: MadeOnce(asking))
    once: MadeOnce[str, object] = MadeOnce(asking)

    class Holder:
        value = unlocked_property(asking)

    asking.__name__ = "value"  # type: ignore[attr-defined]
    holder = Holder()
    get = {
        "each": lambda _: once.get("a"),
        "process": lambda _: process.get(),
        "process each": lambda _: each.get().get("a"),
        "property": lambda _: holder.value,
    }[of]
    assert len(set(finishes(lambda: triggers(get)))) == 1
    assert asking.made == (4 if of == "property" else 1)


def test_a_trigger_waits_for_a_thread_that_needs_its_event_loop() -> None:
    """Airflow answers other threads of a triggerer by the event loop, which a waiting trigger does not block."""
    once: MadeOnce[str, str]

    async def scenario() -> list[Any]:
        loop = asyncio.get_running_loop()
        began = asyncio.Event()

        def make(_: str) -> str:
            loop.call_soon_threadsafe(began.set)
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), loop).result()
            return "of the thread"

        nonlocal once
        once = MadeOnce(make)
        with ThreadPoolExecutor(1) as threads:
            made = asyncio.wrap_future(threads.submit(once.get, "a"))
            await began.wait()
            return [*await triggers(lambda _: once.get("a")), await made]

    assert finishes(scenario) == ["of the thread"] * 5


def test_who_may_not_wait_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a portal the event loop is blocked for a moment only, and the first value is everybody's."""
    monkeypatch.setattr(waiting, "BLOCKED_LOOP_SECONDS", 0.1)
    asking = Asking()
    once: MadeOnce[str, object] = MadeOnce(lambda key: asking(key) if greenback.has_portal() else "own")

    async def scenario() -> tuple[object, list[object]]:
        first = asyncio.ensure_future(triggers(lambda _: once.get("a"), 1))
        await asyncio.sleep(0.01)
        return once.get("a"), await first

    own, first = finishes(scenario)
    assert own == "own"
    assert first == ["own"]


def test_threads_share_a_value_and_an_error() -> None:
    """Eight threads at once make one value; where it cannot be made, all are told, and the next one tries."""
    calls: list[int] = []
    together = threading.Barrier(8)

    def make(number: int) -> int:
        calls.append(number)
        time.sleep(0.2)
        if len(calls) == 2:
            raise StoreUnavailable("down", where="here")
        return number

    once = MadeOnce(make)

    def get(number: int) -> object:
        together.wait()
        try:
            return once.get(number)
        except StoreUnavailable:
            return "down"

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(get, [1] * 8)) == [1] * 8
        assert list(threads.map(get, [2] * 8)) == ["down"] * 8
        assert list(threads.map(get, [2] * 8)) == [2] * 8
    assert calls == [1, 2, 2]


def test_a_fork_in_the_middle_makes_its_own() -> None:
    """A child that is forked while a thread of its parent makes a value waits for no thread that it lacks."""
    began, goes_on = threading.Event(), threading.Event()
    parent = os.getpid()

    def make() -> int:
        began.set()
        if os.getpid() == parent:
            goes_on.wait(SECONDS)
        return os.getpid()

    value = PerProcess(make)
    with ThreadPoolExecutor(1) as threads:
        made = threads.submit(value.get)
        began.wait(SECONDS)
        child = os.fork()
        if not child:
            signal.alarm(SECONDS)
            os._exit(0 if value.get() == os.getpid() else 1)
        _, status = os.waitpid(child, 0)
        goes_on.set()
        assert made.result() == parent
    assert os.waitstatus_to_exitcode(status) == 0


def test_turns_are_taken_in_order_and_let_the_event_loop_continue() -> None:
    """What one trigger writes is not interrupted by another one, although it lets the others run meanwhile."""
    turns, written = Turns(), []

    def write(number: int) -> None:
        with turns.turn(SECONDS):
            written.append(("begins", number))
            greenback.await_(asyncio.sleep(0.02))
            written.append(("ends", number))

    finishes(lambda: triggers(write))
    assert written == [(what, number) for number in range(4) for what in ("begins", "ends")]


def test_nobody_waits_for_a_turn_of_its_own() -> None:
    """A signal handler that comes in between is told so; and a turn that does not come in time is given up."""
    turns = Turns()
    with turns.turn(1):
        with pytest.raises(NoTurn) as own, turns.turn(1):
            pass
        with ThreadPoolExecutor(1) as threads:

            def of_another() -> bool:
                with pytest.raises(NoTurn) as missed, turns.turn(0.05):
                    pass
                return missed.value.own

            assert threads.submit(of_another).result() is False
    assert own.value.own is True
    with turns.turn(0):
        pass

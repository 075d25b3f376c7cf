"""A fault injector: runs a job in a process of its own and kills it with SIGKILL at its n-th step.

A step is each moment before and after a call of an interface that the job is given (a store, a database, a key
service), and each item that such a call gives. The product knows nothing of it.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

Tick = Callable[[], None]
Wrap = Callable[[Any], Any]


class _Watched:
    """Passes everything on, and ticks around every call."""

    def __init__(self, target: Any, tick: Tick) -> None:
        self._target = target
        self._tick = tick

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            self._tick()
            given = found(*arguments, **options)
            if isinstance(given, Iterator):
                return self._each(given)
            self._tick()
            return given

        return call

    def _each(self, given: Iterator[Any]) -> Iterator[Any]:
        for item in given:
            self._tick()
            yield item
            self._tick()


def killed_at(step: int, job: Callable[[Wrap], object]) -> bool:
    """Run a job and kill it at a step; False where it came to its end before.

    :param job: is given a function that it is to pass each of its interfaces through.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def tick() -> None:
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

        code = 70
        try:
            job(lambda target: _Watched(target, tick))
            code = 0
        except BaseException:  # noqa: BLE001  # the child must end here, whatever happened
            traceback.print_exc()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert os.WEXITSTATUS(status) == 0, "the job failed by itself: see its traceback above"
    return False


def every_step(
    folder: Path, begin: Callable[[Path], Any], job: Callable[[Any, Wrap], object], end: Callable[[Any], None]
) -> int:
    """Kill a job at each of its steps in turn, run it again to its end each time, and look at what came of it.

    :param begin: makes a new world in a folder below this one; :param end: holds that the world is as it must be.
    :returns: how many steps there were.
    """
    step = 1
    while True:
        world = begin(folder / str(step))
        killed = killed_at(step, partial(job, world))
        if killed:
            job(world, lambda target: target)
        end(world)
        if not killed:
            return step - 1
        step += 1

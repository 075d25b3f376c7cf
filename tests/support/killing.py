"""Processes that die by SIGKILL at a named step: what a power cut or the out-of-memory killer does.

Nothing in the product knows of it. A test names a function of its own, which is run in a new process; there it
wraps a real object of a public interface (a store, a ledger, rows, an access log) in `Killing`, and the process
ends at the step that was named, without any of Python's ends:

    def finish(folder: str, step: str) -> None:
        shred(claims, rows=Killing(rows(folder), "rows", step), stores=...)

    def test_it_is_finished_by_the_next_run(tmp_path: Path) -> None:
        dies(finish, str(tmp_path), "rows.replace:after")
        finish(str(tmp_path), "")
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

_SECONDS = 120


class Killing:
    """An object whose method kills this process, before or after its work.

    :param name: the object's name in steps.
    :param step: ``NAME.METHOD:before`` or ``NAME.METHOD:after``, and ``*N`` behind it for the Nth call; a step of
        another object, or an empty one, kills nothing.
    """

    def __init__(self, inner: Any, name: str, step: str) -> None:
        place, _, number = step.partition("*")
        owner, _, rest = place.partition(".")
        self._inner = inner
        self._method, _, self._when = rest.partition(":") if owner == name else ("", "", "")
        self._left = int(number or 1)
        if self._method and (self._when not in ("before", "after") or not hasattr(inner, self._method)):
            raise AssertionError(f"{step!r} is no step of {name}")

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._method:
            return found

        def deadly(*args: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == 0 and self._when == "before":
                die()
            answer = found(*args, **options)
            if self._left == 0:
                die()
            return answer

        return deadly


def die() -> None:
    """End this process as ``kill -9`` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def dies(function: Callable[..., object], *args: object) -> None:
    """Run a module's function in a new process, and see that it was killed at its step, not before and not after.

    :param args: what JSON can carry.
    """
    code = run(function, *args)
    assert code == -signal.SIGKILL, f"{function.__name__}{args} ended with {code}, so its step was never reached"


def run(function: Callable[..., object], *args: object) -> int:
    """Run a module's function in a new process; its exit code, negative for a signal."""
    command = [sys.executable, "-m", "tests.support.killing", f"{function.__module__}:{function.__name__}"]
    return subprocess.run([*command, json.dumps(args)], timeout=_SECONDS, check=False).returncode


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    getattr(importlib.import_module(module), name)(*json.loads(sys.argv[2]))

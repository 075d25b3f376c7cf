"""A process that counts what a few pushes and pulls over files and the local keyring take: see `bench_quick`."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.side import Side

VALUES = (("API records", 1_000), ("API records", 100_000), ("log lines", 10_000), ("many secrets", 10_000))
# Patterns are compiled, and caches filled, after a few; what a process pays once is not what is compared.
WARM, TIMES = 4, 5
# The interfaces that a request goes through.
REQUESTS = re.compile(r"secure_xcom/(?:stores/files|keys/local)\.py\Z")
METHODS = frozenset({"put", "get", "get_many", "delete_many", "list", "wrap", "unwrap", "unwrap_many", "rewrap"})


class Callgrind:
    """Counts instructions in this process, which valgrind runs.

    :param folder: where valgrind writes what it counted.
    """

    unit = "instructions"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._control = shutil.which("callgrind_control") or "callgrind_control"
        self._tell("-i", "on")

    def count(self, work: Callable[[], object]) -> int:
        """Return the instructions that the work takes."""
        self._tell("-z")
        work()
        # The dump has all since the counts were set to zero.
        self._tell("-d")
        newest = max(self._folder.glob("callgrind.out*"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        match = re.search(r"^totals: (\d+)", newest.read_text(), re.MULTILINE)
        newest.unlink()
        return int(match[1]) if match else 0

    def _tell(self, *command: str) -> None:
        # Spawned, since valgrind would go on to count in a fork.
        null = os.open(os.devnull, os.O_WRONLY)
        to_nowhere = [(os.POSIX_SPAWN_DUP2, null, 1)]
        arguments = [self._control, *command, str(os.getpid())]
        os.waitpid(os.posix_spawn(self._control, arguments, os.environ, file_actions=to_nowhere), 0)
        os.close(null)


class Calls:
    """Counts calls of Python and C functions."""

    unit = "calls"

    def count(self, work: Callable[[], object]) -> int:
        """Return the calls that the work makes."""
        events: Counter[str] = Counter()
        _profiled(work, lambda _frame, event, _what: events.update((event,)))
        return events["call"] + events["c_call"]


def requests(work: Callable[[], object]) -> Counter[str]:
    """Return how often each method of the store and of the key service is called from outside of it."""
    found: Counter[str] = Counter()

    def profile(frame: FrameType, event: str, _what: Any) -> None:
        code, caller = frame.f_code, frame.f_back
        if event != "call" or code.co_name not in METHODS or not REQUESTS.search(code.co_filename):
            return
        # A generator is entered again for each of its pieces, and a method may ask another one.
        if frame.f_lasti <= _BEGIN and caller is not None and caller.f_code.co_filename != code.co_filename:
            found[f"{Path(code.co_filename).parent.name}: {code.co_name}"] += 1

    _profiled(work, profile)
    return found


# Up to here a call begins; where it goes on after a yield is beyond.
_BEGIN = 8


def _profiled(work: Callable[[], object], profile: Any) -> None:
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)


def main() -> None:
    """Count, and write one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--callgrind", action="store_true")
    chosen = parser.parse_args()
    side = Side("ours")
    # All patterns are compiled by so much of what they look for.
    side.make("many secrets", 200_000)
    side.push(2)
    works: dict[str, tuple[str, int, str]] = {}
    for kind, size in VALUES:
        side.make(kind, size)
        for _ in range(WARM):
            side.push(TIMES)
            side.pull()
        works |= {f"{way} of {size // 1000} KB of {kind}": (kind, size, way) for way in ("push", "pull")}
    kind, size = VALUES[0]
    side.make(kind, size)
    asked = requests(lambda: side.push(20))
    asked += requests(side.pull)
    counter = Callgrind(chosen.folder) if chosen.callgrind else Calls()
    counts = {}
    for what, (kind, size, way) in works.items():
        if way == "push":
            side.make(kind, size)
            side.push(TIMES)
        counts[what] = counter.count(side.pull if way == "pull" else lambda: side.push(TIMES)) // TIMES
    named = {f"20 pushes and pulls, {method}": count for method, count in sorted(asked.items())}
    print(json.dumps({counter.unit: counts, "requests": named}), flush=True)


if __name__ == "__main__":
    main()

"""Try the mutants of one module, each in a fork of a process that has the libraries loaded.

Runs in a copy of the checkout, because each mutant is written over the module: a test that starts another
process meets it as well. Reads a JSON object from standard input and writes one JSON object per mutant.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Seconds without the end of a test. A mutant that never ends is stopped by its CPU time before that, if the
# machine is not busy; a busy machine makes nothing look as if it had ended.
SILENCE = 120
# A mutant's tests may take ten times the CPU time of the unchanged module's, and this many seconds.
CPU_SECONDS = 10
MEMORY = 8 * 2**30
EXAMPLES = 10
# Where hypothesis keeps the settings of a test.
_SETTINGS = "_hypothesis_internal_use_settings"
OURS = ("secure_xcom", "tests", "__main__")


class _Progress:
    """Make hypothesis deterministic and brief, and say the end of each test on a pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        settings.register_profile(
            "mutation", settings.get_profile("suite"), derandomize=True, max_examples=EXAMPLES, database=None
        )
        settings.load_profile("mutation")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # A test that sets its own number of examples would take minutes for each mutant.
        for item in items:
            function = getattr(item, "obj", None)
            function = getattr(function, "__func__", function)
            own = getattr(function, _SETTINGS, None)
            if own is not None:
                brief = settings(
                    own, derandomize=True, max_examples=min(own.max_examples, EXAMPLES), database=None
                )
                setattr(function, _SETTINGS, brief)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(self._pipe, json.dumps({"failed": report.nodeid}).encode() + b"\n")
        os.write(self._pipe, b"\n")


def _run_tests(pipe: int, tests: list[str], cpu_seconds: float) -> int:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds) + 1, int(cpu_seconds) + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-n", "0", "-o", "tmp_path_retention_policy=none"]
    code = int(pytest.main([*options, *tests], plugins=[_Progress(pipe)]))
    if code == 0:
        loaded = [name for name in sys.modules if name.partition(".")[0] not in OURS]
        os.write(pipe, json.dumps({"loaded": loaded}).encode() + b"\n")
    return code


def in_fork(tests: list[str], cpu_seconds: float) -> dict[str, Any]:
    """Run the tests in a fork: how it ended, which test failed, the CPU seconds, and what was loaded."""
    said, pipe = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(said)
        code = 4
        try:
            code = _run_tests(pipe, tests, cpu_seconds)
        finally:
            os._exit(code)
    os.close(pipe)
    lines, silent = b"", False
    with open(said, "rb", buffering=0) as stream:
        while True:
            if not select.select([stream], [], [], SILENCE)[0]:
                silent = True
                break
            if not (read := stream.read(65536)):
                break
            lines += read
    try:
        # It leads a group of its own, so what its tests started ends with it.
        os.killpg(process, signal.SIGKILL) if silent else None
        _, status, usage = os.wait4(process, 0)
    finally:
        _end_group(process)
    result: dict[str, Any] = {"cpu": usage.ru_utime + usage.ru_stime}
    for line in lines.splitlines():
        result |= json.loads(line) if line else {}
    code = os.waitstatus_to_exitcode(status)
    result["outcome"] = (
        "time-out" if silent or code in (-signal.SIGXCPU, -signal.SIGKILL) else _OUTCOMES.get(code, "error")
    )
    return result


# Codes of pytest: 1 a test failed, 2 and 4 nothing could be collected, which an import of a mutant may cause.
_OUTCOMES = {0: "survived", 1: "failed"}


def _end_group(process: int) -> None:
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _preload(loaded: list[str]) -> None:
    for name in loaded:
        if name in sys.modules:
            continue
        try:
            importlib.import_module(name)
        except ImportError:
            # Made by another module as that is imported, and never imported by itself.
            continue
    # Airflow imports what its entry points and settings name. The tests import it again, from the mutant's file.
    for name in [name for name in sys.modules if name.partition(".")[0] == "secure_xcom"]:
        del sys.modules[name]


def try_mutants(
    module: Path, tests: list[str], mutants: list[dict[str, Any]], now: Callable[[], float] = time.time
) -> Iterator[dict[str, Any]]:
    """Yield the result without a mutation, and then that of each mutant.

    :raises SystemExit: the tests fail without a mutation.
    """
    unchanged = module.read_text()
    first = in_fork(tests, 600)
    if first["outcome"] != "survived":
        raise SystemExit(f"{module}: its tests fail without a mutation: {first}")
    _preload(first.pop("loaded"))
    second = in_fork(tests, 600)
    second.pop("loaded", None)
    yield second
    # What is compiled is told from its source by size and time in seconds.
    written = int(now())
    for number, mutant in enumerate(mutants):
        module.write_text(mutant["source"])
        os.utime(module, (written + number, written + number))
        try:
            result = in_fork(tests, CPU_SECONDS + 10 * second["cpu"])
        finally:
            module.write_text(unchanged)
        result.pop("loaded", None)
        yield {**{name: mutant[name] for name in ("operator", "line", "before", "after")}, **result}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    # Libraries print warnings to standard output as they are imported, so results have a descriptor of their own.
    results = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for result in try_mutants(Path(asked["module"]), asked["tests"], asked["mutants"]):
        print(json.dumps(result), file=results, flush=True)

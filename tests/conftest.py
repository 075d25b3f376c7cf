"""How the suite is put in order: what starts first, what shares a worker, and what a missing server means."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# Examples are found within seconds on a slow, shared machine too, so time is no reason to fail.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

TESTS = Path(__file__).parent
# Nothing compiled is kept where this is set, as it is in many containers. Each of the some hundred processes that
# the tests start would compile two thousand modules of Airflow's, which takes it longer than all the rest.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Seconds: a whole Airflow takes minutes, and many more on a machine that does much else. Whoever waits for one
# gives up long before, once nothing moves any more.
E2E_TIMEOUT = 3600
# Files and tests that take over half a second of CPU time: `make unit` leaves them out.
SLOW = (TESTS / "slow_tests.txt").read_text().split()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage once, after the collection, and later never among the modules and tests, which all stay.

    Looking again and again takes a quarter of the time of collecting, and a tenth of that of the fast tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def _is_slow(item: pytest.Item) -> bool:
    name = f"{item.path.relative_to(TESTS).as_posix()}::{item.nodeid.partition('::')[2]}"
    return any(name.startswith((f"{slow}::", f"{slow}[")) or name == slow for slow in SLOW)


def _rank(item: pytest.Item) -> int:
    """What takes longest comes first: the three deployments that are compared, then other whole Airflows."""
    if any(mark.args == ("e2e-live",) for mark in item.iter_markers("xdist_group")):
        return 0
    return {"e2e": 1, "real": 2}.get(_folder(item), 3)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import a file whose tests are all slow where slow tests are left out."""
    slow = collection_path.is_relative_to(TESTS) and collection_path.relative_to(TESTS).as_posix() in SLOW
    return True if slow and "not slow" in config.option.markexpr else None


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Mark by folder, keep a file with its servers on one worker, and begin with what takes longest.

    A wrapper, because xdist reads the groups in a hook of its own that comes before every other plain one.
    """
    for item in items:
        folder = _folder(item)
        if _is_slow(item):
            item.add_marker("slow")
        if folder in ("e2e", "kubernetes") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(E2E_TIMEOUT))
        if folder not in ("e2e", "real"):
            continue
        if folder == "real":
            # Its fixtures build a server first where the cache has none: that takes minutes and bounds itself.
            own = item.get_closest_marker("timeout")
            item.add_marker(pytest.mark.timeout(*(own.args if own else ()), func_only=True), append=False)
        item.add_marker(folder)
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(f"{folder}-{item.path.stem}"))
    items.sort(key=_rank)
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true a skipped test of a real server is a failure, unless it is one that must be asked for."""
    report = yield
    needs_server = item.get_closest_marker("real") or item.get_closest_marker("e2e")
    if (
        report.skipped
        and needs_server
        and not item.get_closest_marker("on_request")
        and os.environ.get("CI") == "true"
    ):
        report.outcome = "failed"
        report.longrepr = f"CI=true, and this was skipped: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many mutations the tests of tests/fuzz tried and how each ended; the leak hunt; the tamper table."""
    tally: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == "mutations":
                    tally.update(value)
                if name == "tampering":
                    terminalreporter.section("the tamper table: what `audit verify` says of each tampering")
                    terminalreporter.line(value)
                if name == "faults":
                    terminalreporter.section("the fault table: what becomes of a task on a distributed Airflow")
                    terminalreporter.line(value)
                if name == "leaks":
                    terminalreporter.section("the leak hunt: where each path's canary was found")
                    terminalreporter.line(value)
    if tally:
        refused = {name: count for name, count in tally.most_common() if name != "opened"}
        terminalreporter.section("mutations of references and payloads")
        terminalreporter.line(
            f"{tally.total()} tried, {sum(refused.values())} refused, {tally['opened']} opened because nothing "
            "that matters was changed"
        )
        terminalreporter.line(", ".join(f"{name} {count}" for name, count in refused.items()))

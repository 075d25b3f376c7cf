"""What befalls the distributed deployment in the middle of runs, and what became of each task then."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tests.e2e.distributed import SETUP, TEAMS, Distributed
from tests.support.servers.faulty_proxy import Fault

KILLED, SEALED, DOWN = "killed", "sealed", "down"
TASKS = ("pushes", "pulls")
# Longer than it takes to kill the worker whose request this holds up.
_HELD_SECONDS = 60.0
_DAGS = tuple(f"{team}_faults" for team in TEAMS)


@dataclass(frozen=True)
class Fate:
    """What became of one task.

    :ivar state: its last one. :ivar tries: how many it took.
    :ivar said: the errors that its failed tries ended with, as their logs have them; none where it was killed.
    """

    state: str
    tries: int
    said: frozenset[str]


@dataclass(frozen=True)
class Disturbed:
    """A run of each team's DAG that was disturbed.

    :ivar runs: DAG id -> the state of its run. :ivar fates: (team, task) -> what became of it.
    :ivar seconds: how long the fault lasted. :ivar orphans: the objects that no row names since then.
    """

    runs: dict[str, str]
    fates: dict[tuple[str, str], Fate]
    seconds: float
    orphans: frozenset[str]


def kill(site: Distributed) -> Disturbed:
    """Kill both workers while each pushes and pulls, and start them again.

    Finance's requests have not reached the bucket then; marketing's are done, and the answers are on the way.
    """
    proxy, before = site.behind().proxy, orphans(site)
    for team, kind in (("finance", "drop"), ("marketing", "wait")):
        at = f"/{team}_faults/{KILLED}/"
        proxy.faults += [
            # The first of two pushes passes.
            Fault("wait", method="PUT", path=f"{at}pushes/"),
            Fault(kind, method="PUT", path=f"{at}pushes/", seconds=_HELD_SECONDS),  # type: ignore[arg-type]
            Fault(kind, method="GET", path=f"{at}seed/", seconds=_HELD_SECONDS),  # type: ignore[arg-type]
        ]
    site.trigger(*_DAGS, run_id=KILLED)
    site.until(lambda: not proxy.faults, "each worker is in the middle of a push and of a pull")
    # What the proxy passes on has reached the bucket by then.
    site.until(lambda: len(_pushed(site, "marketing", KILLED)) == 2, "marketing's object is put")
    time.sleep(0.3)
    began = time.monotonic()
    for worker in site.workers.values():
        worker.kill()
    for worker in site.workers.values():
        worker.start()
    for worker in site.workers.values():
        worker.wait_ready()
    seconds = time.monotonic() - began
    return _ended(site, KILLED, seconds, before)


def seal(site: Distributed) -> Disturbed:
    """Seal Vault while tasks are halfway, and unseal it with its shares when each has failed."""
    vault, before = site.behind().vault, orphans(site)
    _halfway(site, SEALED)
    began = time.monotonic()
    vault.seal()
    _fail_once(site, SEALED)
    vault.unseal()
    return _ended(site, SEALED, time.monotonic() - began, before)


def take_down(site: Distributed) -> Disturbed:
    """End the S3 server while tasks are halfway, and start it again when each has failed."""
    s3, before = site.behind().s3, orphans(site)
    _halfway(site, DOWN)
    began = time.monotonic()
    s3.stop()
    _fail_once(site, DOWN)
    s3.start()
    return _ended(site, DOWN, time.monotonic() - began, before)


def orphans(site: Distributed) -> frozenset[str]:
    """The objects of the bucket that no row names."""
    named = {reference["head"]["object"].removeprefix(f"s3://{SETUP.BUCKET}/") for reference in site.references()}
    return frozenset(site.objects()) - named


def lost(site: Distributed) -> set[str]:
    """What rows that can be opened name and the bucket does not have."""
    named = {
        reference["head"]["object"].removeprefix(f"s3://{SETUP.BUCKET}/")
        for reference in site.references()
        if "shredded" not in reference
    }
    return named - set(site.objects())


def _pushed(site: Distributed, team: str, run_id: str) -> list[str]:
    return [key for key in site.objects() if f"/{team}_faults/{run_id}/pushes/" in key]


def _each() -> Iterable[tuple[str, str]]:
    return [(team, task) for team in TEAMS for task in TASKS]


def _halfway(site: Distributed, run_id: str) -> None:
    (site.signals / f"{run_id}.hold").touch()
    site.trigger(*_DAGS, run_id=run_id)
    awaited = [site.signals / f"{run_id}.{team}_faults.{task}" for team, task in _each()]
    site.until(lambda: all(file.exists() for file in awaited), "each task is halfway")


def _fail_once(site: Distributed, run_id: str) -> None:
    (site.signals / f"{run_id}.go").touch()

    def failed(team: str, task: str) -> bool:
        state, tries = site.states(f"{team}_faults", run_id)[task]
        return tries > 1 or state in ("up_for_retry", "failed")

    site.until(lambda: all(failed(team, task) for team, task in _each()), "each task has failed once")


def _ended(site: Distributed, run_id: str, seconds: float, before: frozenset[str]) -> Disturbed:
    runs = site.wait(*_DAGS, run_id=run_id)
    fates = {}
    for team, task in _each():
        dag_id = f"{team}_faults"
        state, tries = site.states(dag_id, run_id)[task]
        said = {_error(site.log(dag_id, run_id, task, attempt)) for attempt in range(1, tries)}
        fates[team, task] = Fate(state, tries, frozenset(said - {""}))
    return Disturbed(runs, fates, seconds, orphans(site) - before)


def _error(log: str) -> str:
    """The class of the error that a try ended with, if it says what to do; empty where it says nothing at all."""
    for line in log.splitlines():
        try:
            details = json.loads(line).get("error_detail") or ()
        except ValueError:
            # A process that was killed leaves half a line.
            continue
        for detail in details:
            kind, text = str(detail["exc_type"]), str(detail["exc_value"])
            return kind if "What to do: " in text else f"{kind} without a remedy"
    return ""

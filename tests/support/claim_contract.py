"""What every place of claims promises, as tests; and the race that only one may win.

A subclass gives the fixtures ``ledger`` and ``place`` (a store URI). The race is run by processes of their own,
which open the ledger by what ``race`` gives: the kind and the URI.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.claims.claim import PROOF_BYTES, Claim
from secure_xcom.claims.claim_listing import ListedClaimObjects
from secure_xcom.claims.claim_table import ClaimTable
from secure_xcom.claims.claimant import Claimant, Target
from secure_xcom.claims.claiming import Wanted, check_proof, take
from secure_xcom.claims.ledger import ListedLedger
from secure_xcom.claims.migrate import migrate
from secure_xcom.core.claim_errors import ClaimRefused, ClaimTampered
from secure_xcom.core.coordinate import Coordinate, object_path, object_uri
from secure_xcom.ops.jobs.shred_finished import CLAIM_KEPT
from secure_xcom.stores import store
from tests.support.stopped_clock import stopped

DATA_KEY = b"\x11" * 32
_PROCESSES = 4


def target(place: str, compartment: str = "finance", **changes: Any) -> Target:
    """A push of an exclusive XCom that nobody has claimed."""
    at = Coordinate(**{"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "key": "k", **changes})
    path = object_path(compartment, at, str(uuid.uuid4()))
    return Target(compartment, at, place, object_uri(place, path))


def a_day_later() -> AbstractContextManager[None]:
    """The time at which a claim that is made now may be removed."""
    return stopped(datetime.now(timezone.utc) + CLAIM_KEPT + timedelta(seconds=2))


def claimant(name: str) -> Claimant:
    """A task instance."""
    return Claimant("reader", "run", name, -1, 1)


def taken(ledger: ListedLedger, at: Target, name: str) -> Claim:
    """The claim that a task instance makes or has."""
    return take(ledger, Wanted(at, claimant(name)), DATA_KEY)


class ClaimContract:
    """See the module."""

    THREADS = 50
    """In each of four processes."""
    ROUNDS = 3

    def test_a_claim_is_made_once(self, ledger: ListedLedger, place: str) -> None:
        """The first claim stays, a second creation says so, and a repeated one of the same claimant is theirs."""
        at = target(place)
        assert ledger.find_many([at]) == [None]
        first = taken(ledger, at, "a")
        assert not ledger.create(at, Claim.of(at, claimant("b")))
        with pytest.raises(ClaimRefused):
            taken(ledger, at, "b")
        assert ledger.find_many([at]) == [first] == [taken(ledger, at, "a")]
        check_proof(first, DATA_KEY)
        with pytest.raises(ClaimTampered):
            check_proof(first, b"\x22" * 32)

    def test_many_are_found_in_order(self, ledger: ListedLedger, place: str) -> None:
        """Claims are found for each target by itself, with gaps."""
        targets = [target(place, map_index=number) for number in range(7)]
        for number in (1, 4):
            taken(ledger, targets[number], f"c{number}")
        found = ledger.find_many(targets)
        assert [claim and claim.claimant.task_id for claim in found] == [None, "c1", None, None, "c4", None, None]
        assert ledger.find_many([]) == []

    def test_unusual_ids(self, ledger: ListedLedger, place: str) -> None:
        """Ids of every character and of Airflow's full length are kept as they are."""
        at = target(place, dag_id="größe", run_id="r" * 250, task_id="\U0001f600" * 40, key='k"\n/~' * 100)
        assert ledger.find_many([at]) == [None]
        assert taken(ledger, at, "a").coordinate == at.coordinate
        assert [claim and claim.coordinate for claim in ledger.find_many([at])] == [at.coordinate]

    def test_they_are_listed_by_compartment(self, ledger: ListedLedger, place: str) -> None:
        """Maintenance sees the claims of the compartments that it asks for, each once."""
        name, other = (f"c{uuid.uuid4().hex[:8]}" for _ in range(2))
        made = {taken(ledger, target(place, name, map_index=number), "a").object for number in range(5)}
        taken(ledger, target(place, other), "a")
        found = list(ledger.list([(place, name), (place, name)]))
        assert sorted(claim.object for claim in found if isinstance(claim, Claim)) == sorted(made)
        assert len(found) == len(made)

    def test_one_in_the_place_of_another_is_told(self, ledger: ListedLedger, place: str) -> None:
        """A claim on one XCom in the place of another's, or of another compartment's, is listed as what it is."""
        name, other = (f"c{uuid.uuid4().hex[:8]}" for _ in range(2))
        for own, forged in (
            (target(place, name), target(place, name)),
            (target(place, name), target(place, other)),
        ):
            assert ledger.create(own, replace(Claim.of(forged, claimant("a")), proof=bytes(PROOF_BYTES)))
        found = list(ledger.list([(place, name), (place, other)]))
        assert [type(one) for one in found] == [ClaimTampered, ClaimTampered]

    def test_a_removed_claim_is_gone(self, ledger: ListedLedger, place: str) -> None:
        """After its removal, and again after that, there is none."""
        at = target(place)
        taken(ledger, at, "a")
        ledger.remove(at)
        ledger.remove(at)
        assert ledger.find_many([at]) == [None]
        assert taken(ledger, at, "b").claimant == claimant("b")

    @pytest.mark.timeout(600)
    # It starts processes, in each file that inherits it.
    @pytest.mark.slow
    def test_one_of_all_wins(
        self, ledger: ListedLedger, place: str, race: tuple[str, str], tmp_path: Path
    ) -> None:
        """Of many claimants at once, threads of several processes, one wins each time, all others are refused."""
        targets = [target(place, map_index=number) for number in range(self.ROUNDS)]
        outcomes = run_race(race, targets, self.THREADS, tmp_path)
        for number, at in enumerate(targets):
            here = Counter(outcome for outcome, _ in outcomes[number])
            assert here == Counter({"won": 1, "ClaimRefused": self.THREADS * _PROCESSES - 1}), dict(here)
            [winner] = [name for outcome, name in outcomes[number] if outcome == "won"]
            [claim] = ledger.find_many([at])
            assert claim is not None
            assert claim.claimant.task_id == winner


class ClaimTableContract(ClaimContract):
    """The contract for claims in a database; `race` names it."""

    @pytest.fixture
    def place(self) -> str:
        return "memory://elsewhere"

    @pytest.fixture
    def ledger(self, race: tuple[str, str]) -> ListedLedger:
        table = ClaimTable(race[1])
        migrate(table)
        return table


def run_race(
    race: tuple[str, str], targets: list[Target], threads: int, folder: Path
) -> list[list[tuple[str, str]]]:
    """For each target, what each claimant got and its name."""
    start = folder / "start"
    job = {
        "race": race,
        "targets": [[at.compartment, at.coordinate.map_index, at.store_uri, at.object] for at in targets],
        "threads": threads,
        "start": str(start),
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.claim_contract", json.dumps(job), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(_PROCESSES)
    ]
    # However long a busy machine takes: the race is one only if all of them start.
    while len(list(folder.glob("start.*"))) < _PROCESSES:
        assert all(process.poll() is None for process in running), "a claimant ended before the start"
        time.sleep(0.05)
    start.touch()
    found: list[list[tuple[str, str]]] = [[] for _ in targets]
    for process in running:
        text, _ = process.communicate()
        assert process.returncode == 0
        for here, some in zip(found, json.loads(text.splitlines()[-1]), strict=True):
            here.extend((outcome, name) for outcome, name in some)
    return found


def _race(job: dict[str, Any], process: str) -> None:
    # Hundreds of refusals are nothing to be read, and Airflow may send logs where the outcome is awaited.
    logging.disable()
    kind, uri = job["race"]
    ledger: ListedLedger
    if kind == "database":
        ledger = ClaimTable(uri)
    else:
        opened = store(uri)
        ledger = ListedClaimObjects(lambda _: opened)
    # What is slow the first time is done before the start: clients, imports, connections, a bucket's volumes.
    taken(ledger, target(uri), "before")
    outcomes: list[list[tuple[str, str]]] = [[] for _ in job["targets"]]
    barrier = threading.Barrier(job["threads"])
    open(f"{job['start']}.{process}", "w").close()
    while not os.path.exists(job["start"]):
        time.sleep(0.001)

    def run(number: int) -> None:
        name = f"c{process}_{number}"
        for index, (compartment, map_index, place, text) in enumerate(job["targets"]):
            at = Target(compartment, Coordinate("d", "r", "t", map_index, "k"), place, text)
            barrier.wait()
            try:
                outcome = "won" if taken(ledger, at, name).claimant.task_id == name else "shared"
            except Exception as error:  # noqa: BLE001  # whatever it is, the test shows its name
                outcome = type(error).__name__
            outcomes[index].append((outcome, name))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(job["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    _race(json.loads(sys.argv[1]), sys.argv[2])

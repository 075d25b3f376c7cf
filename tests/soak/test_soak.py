"""What holds after a soak: every run ended right, nothing was lost, nothing lies in the clear, every log fits.

`make soak SOAK_SECONDS=3600 SEED=22` runs it; the same seed gives the same schedule of faults.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e import disturbances
from tests.e2e.describe import digest
from tests.e2e.distributed import TEAMS, Distributed, distributed, new_seed
from tests.e2e.hunt import Hunt, canary
from tests.soak import values
from tests.soak.faults import ALWAYS, LOG_DISK_BYTES, WITH_CLOCK, WITH_LOG_DISK, Fault, clock_file, set_clock
from tests.soak.soak import Soak, maintenance_environment
from tests.support import deployed

SECONDS, SEED = "SECURE_XCOM_SOAK_SECONDS", "SECURE_XCOM_SOAK_SEED"
DAGS = Path(__file__).parent / "dags"
# Debian's package libfaketime.
FAKETIME = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "faketime" / "libfaketimeMT.so.1"

# What a killed worker had taken from the queue and not begun is queued again after this time; by default 600 s.
SETTINGS = {"scheduler.task_queued_timeout": "120", "scheduler.task_queued_timeout_check_interval": "10"}

pytestmark = pytest.mark.timeout(0)


@dataclass
class Left:
    """What is left when everything has ended."""

    site: Distributed
    soak: Soak
    failed: list[tuple[Any, ...]]
    reads: dict[str, str]
    rewrap: tuple[int, dict[str, Any]]
    orphans: frozenset[str]
    gc: dict[str, Any]
    after_gc: frozenset[str]
    hunt: Hunt
    verify: tuple[int, dict[str, Any]]
    reconcile: dict[str, Any]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    """The soak, from its start to its end."""
    if SECONDS not in os.environ:
        pytest.skip("a soak is run by `make soak`")
    folder = tmp_path_factory.mktemp("soak")
    (folder / "beside").mkdir()
    faults: dict[str, Fault] = dict(ALWAYS)
    of_workers: dict[str, str] = {}
    if FAKETIME.exists():
        faults |= WITH_CLOCK
        for team in TEAMS:
            set_clock(clock_file(folder / "beside", team), 0)
        of_workers = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    policy = yaml.safe_load((deployed.COMPOSE / "access_policy.yaml").read_text())
    for compartment in policy["compartments"]:
        compartment["exclusive"] = [values.EXCLUSIVE]
    policy_file = folder / "access_policy.yaml"
    policy_file.write_text(yaml.safe_dump(policy))
    with (
        distributed(
            folder, new_seed(), dags=DAGS, policy_file=policy_file, of_workers=of_workers, settings=SETTINGS
        ) as site,
        small_log_disks(site) as is_small,
    ):
        yield after(site, {**faults, **(WITH_LOG_DISK if is_small else {})})


@contextmanager
def small_log_disks(site: Distributed) -> Iterator[bool]:
    """Give each worker's access log a file system of its own that is soon full; only root can, in a namespace."""
    if os.geteuid() != 0:
        yield False
        return
    with ExitStack() as stack:
        for worker in site.workers.values():
            folder = str(worker.access_log.parent)
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={LOG_DISK_BYTES},mode=700", "soak", folder], check=True
            )
            stack.callback(subprocess.run, ["umount", "--lazy", folder], check=True)
        yield True


def after(site: Distributed, faults: dict[str, Fault]) -> Left:
    """Run the soak, ask everything that is asked of a running deployment, then stop it and ask the rest."""
    soak = Soak(site, int(os.environ[SEED]), faults, maintenance_environment(site))
    create_anchored_log(soak)
    soak.run(float(os.environ[SECONDS]))
    failed = site.rows(
        "SELECT dag_id, run_id, task_id, map_index, state, try_number FROM task_instance WHERE state <> 'success'"
    )
    vault = site.behind().vault
    for team in TEAMS:
        vault.do("POST", f"transit/keys/xcom-{team}/rotate")
    soak.command("rewrap", "--apply")
    for team in TEAMS:
        newest = vault.do("GET", f"transit/keys/xcom-{team}")["data"]["latest_version"]
        vault.do("POST", f"transit/keys/xcom-{team}/config", {"min_decryption_version": newest})
    rewrap = soak.command("rewrap")
    reads = read_again(site, soak)
    orphans = disturbances.orphans(site)
    gc = soak.command("gc", "--apply", "--older-than", "2h", "--max-share", "1", hours_later=3)[1]
    after_gc = disturbances.orphans(site)
    site.stop()
    soak.command("audit", "anchor", "--quiet", "0", *soak.anchored(), *soak.sinks())
    verify = soak.command("audit", "verify", "--quiet", "0", *soak.anchored(), *soak.sinks())
    until = (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    log = str(site.behind().vault_log)
    reconciled = site.command("audit", "reconcile", "--vault-log", log, "--until", until, "--json", *soak.sinks())
    return Left(
        site,
        soak,
        failed,
        reads,
        rewrap,
        orphans,
        gc,
        after_gc,
        site.hunt(),
        verify,
        json.loads(reconciled.stdout),
    )


def create_anchored_log(soak: Soak) -> None:
    """Make the key that signs it, and its folder."""
    (soak.site.beside / "anchored-log").mkdir()
    code, _ = soak.command("audit", "key", "--create", *soak.anchored()[2:])
    assert code == 0


def read_again(site: Distributed, soak: Soak) -> dict[str, str]:
    """Have a task of each team pull everything that was pushed, by the keys that are left."""
    for team in TEAMS:
        site.airflow.trigger(f"{team}_reads", {"runs": soak.begun[team]}, run_id="again")
    soak.settle()
    return {team: site.airflow.run_state(f"{team}_reads", "again") for team in TEAMS}


def test_every_run_ends_right(left: Left) -> None:
    """Each task instance has succeeded, in as many tries as the faults made it take."""
    tries = left.site.rows("SELECT SUM(try_number), COUNT(*) FROM task_instance")
    print(
        f"{dict(left.soak.counted)}\n{dict(left.soak.restarts)}\n{dict(left.soak.jobs)}\ntries, instances: {tries}"
    )
    assert left.failed == []
    assert all(len(runs) > 1 for runs in left.soak.begun.values())
    assert set(left.soak.counted) == set(left.soak.faults)


def test_maintenance_goes_on(left: Left) -> None:
    """A job that met a fault says so with exit code 2, and each did its work in another run."""
    jobs = left.soak.jobs
    assert {code for _, code in jobs} <= {0, 1, 2}
    for job in ("gc", "expire", "rewrap", "policy apply", "audit anchor", "claims shred"):
        assert jobs[job, 0] + jobs[job, 1] > 0, job


def test_every_value_is_right(left: Left) -> None:
    """Whatever a task was given, in whichever try, is what was pushed."""
    notes = left.site.notes()
    wrong = []
    for team in TEAMS:
        for run_id in left.soak.begun[team]:
            for name, value in expected(left.site.seed, f"{team}_soak {run_id}").items():
                told = {one[1] for one in notes.got[f"{team}_soak {run_id} {name}"]}
                if told != {digest(value)}:
                    wrong.append((team, run_id, name, told))
    assert wrong == []


def expected(seed: str, run: str) -> dict[str, Any]:
    """What the tasks of one run note of what they pulled."""
    pushed = values.pushed(canary(seed, f"{run} pushed"))
    return {
        **pushed,
        **{f"{key} again": value for key, value in pushed.items()},
        "deferred": values.mapped(0, canary(seed, f"{run} deferred")),
        "mapped": [values.mapped(number, canary(seed, f"{run} mapped")) for number in values.MAPPED],
    }


def test_an_exclusive_xcom_has_one_reader(left: Left) -> None:
    """Of two task instances that pull it, one is given it, in each of its tries, and the other never."""
    said = left.site.notes().said
    readers = {
        (team, run_id): (set(said[f"{team}_soak {run_id} reader"]), set(said[f"{team}_soak {run_id} refused"]))
        for team in TEAMS
        for run_id in left.soak.begun[team]
    }
    wrong = {run: found for run, found in readers.items() if len(found[0]) != 1 or found[0] & found[1]}
    assert wrong == {}


def test_nothing_is_lost(left: Left) -> None:
    """The bucket has what each row names, and each opens with the newest version of its key alone."""
    assert disturbances.lost(left.site) == set()
    assert left.rewrap[0] == 0, left.rewrap
    assert left.reads == dict.fromkeys(TEAMS, "success")


def test_gc_finds_only_what_no_row_names(left: Left) -> None:
    """Three hours later it has deleted what killed tries left behind, and nothing else."""
    print(f"{len(left.orphans)} payloads without a row; gc: {left.gc}")
    assert payloads(left.after_gc) == set()
    assert disturbances.lost(left.site) == set()


def payloads(keys: frozenset[str]) -> set[str]:
    """Those that are payloads; the others are claims."""
    return {key for key in keys if "/~claims/" not in key}


def test_no_plaintext_lies_anywhere(left: Left) -> None:
    """No canary is in PostgreSQL, Redis, the bucket, a log of any component or any other file, in any form."""
    print(f"{left.hunt.searched_bytes} bytes searched")
    assert left.hunt.places() == {}
    assert len(left.site.notes().canaries) > 8


def test_the_access_log_verifies(left: Left) -> None:
    """No event is missing, moved or twice; chains without an end are those of killed processes."""
    code, told = left.verify
    kinds = Counter(found["kind"] for found in told["found"])
    print(f"{told['events']} events, {kinds}")
    assert code == 0
    assert set(kinds) <= {"interrupted"}
    assert told["events"] > 100


def test_vaults_log_tells_the_same(left: Left) -> None:
    """An unwrap without an event is of a try that could not tell: killed, or its log's disk was full."""
    findings = [gap for gap in left.reconcile["gaps"] if gap["finding"]]
    kinds = Counter(gap["kind"] for gap in findings)
    print(f"{left.reconcile['pairs']} pairs, {kinds}")
    assert set(kinds) <= {"outside"}
    assert left.reconcile["pairs"] > 10

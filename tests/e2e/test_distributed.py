"""A distributed Airflow with two identities: what each may have, and what becomes of its tasks when things break.

One deployment for the whole file (tests/e2e/distributed.py). What befalls it is done once, each by a fixture; what
is said of the whole of it comes last, when everything has been stopped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import psutil
import pytest

from tests.audit_reading import read_chains
from tests.e2e import disturbances
from tests.e2e.describe import digest
from tests.e2e.distributed import TEAMS, Distributed, distributed, new_seed
from tests.e2e.disturbances import Disturbed
from tests.e2e.hunt import Hunt, canary

COUNT = 1000 if os.environ.get("SECURE_XCOM_TEST_WHOLE") == "true" else 60
RUN = "ways"
WAYS = ("produce", "double", "gather", "before it defers", "after it deferred")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distributed]:
    """The deployment, while it runs."""
    with distributed(tmp_path_factory.mktemp("distributed"), new_seed(), count=COUNT) as found:
        yield found


@pytest.fixture(scope="module")
def ways(site: Distributed) -> dict[str, str]:
    """The state of a run of each DAG that nothing befalls."""
    first = ("finance_daily", "finance_ways", "marketing_ways")
    site.trigger(*first, run_id=RUN)
    found = site.wait(*first, run_id=RUN)
    # Both pull what was pushed by then.
    for then in (("marketing_report", "marketing_hostile"), ("marketing_reads",)):
        site.trigger(*then, run_id=RUN)
        found.update(site.wait(*then, run_id=RUN))
    return found


@pytest.fixture(scope="module")
def stolen(site: Distributed, ways: dict[str, str]) -> dict[str, Any]:
    """What the hostile task on marketing's worker had from the servers."""
    found: dict[str, Any] = json.loads((site.signals / "stolen.json").read_text())
    return found


@pytest.fixture(scope="module")
def killed(site: Distributed) -> Disturbed:
    """Both workers killed in the middle of a push and of a pull."""
    return disturbances.kill(site)


@pytest.fixture(scope="module")
def sealed(site: Distributed) -> Disturbed:
    """Vault sealed in the middle of runs."""
    return disturbances.seal(site)


@pytest.fixture(scope="module")
def down(site: Distributed) -> Disturbed:
    """The bucket away in the middle of runs."""
    return disturbances.take_down(site)


@pytest.fixture(scope="module")
def many(site: Distributed) -> tuple[dict[str, str], float]:
    """The states of the runs with many mapped task instances, and how many seconds both took together."""
    dags = tuple(f"{team}_many" for team in TEAMS)
    began = time.monotonic()
    site.trigger(*dags, run_id="many")
    return site.wait(*dags, run_id="many", timeout=3000), time.monotonic() - began


@dataclass
class Left:
    """What the deployment left behind."""

    hunt: Hunt
    chains: dict[str, list[dict[str, Any]]]
    seal: dict[str, Any]
    verify: tuple[int, dict[str, Any]]
    reconcile: tuple[int, dict[str, Any]]


@pytest.fixture(scope="module")
def left(
    site: Distributed,
    stolen: dict[str, Any],
    killed: Disturbed,
    sealed: Disturbed,
    down: Disturbed,
    many: tuple[dict[str, str], float],
) -> Left:
    """Stop it, seal and verify its access log, hold that against Vault's, and search every byte."""
    site.stop()
    sinks = [word for worker in site.workers.values() for word in ("--sink", worker.access_log.as_uri())]
    log = site.beside / "sealed-log"
    log.mkdir()
    where = ["--log", log.as_uri(), "--key", (site.beside / "sealing.pem").as_uri()]

    def audit(*words: str) -> tuple[int, dict[str, Any]]:
        done = site.command("audit", *words, "--json")
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout)

    audit("key", "--create", *where[2:])
    sealing = audit("seal", "--quiet", "0", *where, *sinks)[1]
    verified = audit("verify", "--quiet", "0", *where, *sinks)
    until = (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    reconciled = audit("reconcile", "--vault-log", str(site.behind().vault_log), "--until", until, *sinks)
    chains = {
        chain: events
        for worker in site.workers.values()
        for chain, events in read_chains(worker.access_log.read_bytes()).items()
    }
    return Left(site.hunt(), chains, sealing, verified, reconciled)


def value_of(site: Distributed, path: str) -> dict[str, str]:
    """What a task pushes of a path."""
    return {"password": canary(site.seed, path)}


# --- two identities -----------------------------------------------------------------------------------------


def test_the_policies_are_made_by_policy_apply(site: Distributed) -> None:
    """Keys, policies and roles in Vault and policies in IAM were missing, and `policy apply` made each of them."""
    assert set(site.made.values()) == {"make"}
    assert len([step for step in site.made if step.startswith(("policy ", "role ", "user "))]) == 9


def test_each_worker_has_one_identity(site: Distributed) -> None:
    """A worker has nothing of the other's credentials in environment or file, nor Airflow's database URL."""
    for team, other in (TEAMS, TEAMS[::-1]):
        worker = site.workers[team]
        assert worker.process is not None
        has = json.dumps(psutil.Process(worker.process.pid).environ())
        has += (worker.home / "identity" / "connections.json").read_text()
        mine, theirs = worker.connections, site.workers[other].connections
        for conn_id in ("vault_xcom", "s3_xcom"):
            for part in ("login", "password"):
                assert mine[conn_id][part] in has
                assert theirs[conn_id][part] not in has
        assert str(site.database.url.database) not in has


@pytest.mark.parametrize("team", TEAMS)
def test_tasks_run_on_their_teams_worker(site: Distributed, ways: dict[str, str], team: str) -> None:
    """Each task of a team, mapped and deferred ones too, ran on its team's worker; no DAG had asked for it."""
    assert ways[f"{team}_ways"] == "success"
    said = site.notes().said
    assert {name: set(said[f"{team}_ways.{name}"]) for name in WAYS} == {name: {team} for name in WAYS}
    queues = site.rows("SELECT DISTINCT queue FROM task_instance WHERE dag_id LIKE :dags", dags=f"{team}%")
    assert queues == [(team,)]


@pytest.mark.parametrize("team", TEAMS)
def test_values_arrive_equal(site: Distributed, ways: dict[str, str], team: str) -> None:
    """Texts, structures, bytes, large, mapped and deferred values are what was pushed, and of the same type."""
    token = canary(site.seed, f"{team}_ways token")
    doubled = value_of(site, f"{team}_ways doubled")
    pushed: dict[str, Any] = {
        "token": token,
        "credentials": {"user": "ada", "password": token, "ports": [1, 2, 3], "ratio": 0.5, "none": None},
        "list_of_passwords": [token, "second"],
        "large_secret": token * 20_000,
        "secret_bytes": token.encode() + bytes(range(256)),
        "produced": value_of(site, f"{team}_ways produced"),
        "deferred": value_of(site, f"{team}_ways deferred"),
        "doubled": [{"number": 2, **doubled}, {"number": 4, **doubled}],
    }
    got = site.notes().got
    assert {name: [one[1] for one in got[f"{team} {name}"]] for name in pushed} == {
        name: [digest(value)] for name, value in pushed.items()
    }


def test_a_shared_reader_pulls_what_it_is_a_reader_of(site: Distributed, ways: dict[str, str]) -> None:
    """Marketing gets the totals that finance publishes, and no other XCom of the same run; so says its report."""
    assert ways["marketing_reads"] == ways["marketing_report"] == "success"
    notes = site.notes()
    assert [one[1] for one in notes.got["shared"]] == [digest({"total": 42})]
    assert [one[1] for one in notes.got["report"]] == [digest("total: {'total': 42}")]
    assert notes.said["not shared"] == ["AccessRefused"]


def test_hostile_code_is_refused_by_the_servers(stolen: dict[str, Any]) -> None:
    """With all that its worker has, but without our code, a task gets nothing of the other team: 403 from both."""
    assert stolen["own"] == {"Vault: unwrap its own": "200", "S3: get its own object": "opened"}
    # Its own key opens nothing of another; Vault takes the request and finds no such wrap.
    assert stolen["stolen"].pop("Vault: unwrap with its own key") == "400"
    answers = {name.partition(":")[0]: set() for name in stolen["stolen"]}  # type: dict[str, set[str]]
    for name, answer in stolen["stolen"].items():
        answers[name.partition(":")[0]].add(answer)
    assert answers == {"Vault": {"403"}, "S3": {"403 AccessDenied"}}


def test_our_code_with_its_checks_patched_out_is_refused_too(stolen: dict[str, Any]) -> None:
    """Without our decisions each step ends at a server, but for the sealed bytes of a DAG with a shared task."""
    refused = {name: status for name, status in stolen["patched"].items() if status != "opened"}
    assert set(refused.values()) == {"KeyServiceDenied", "StoreDenied"}
    # Buckets know no tasks (docs/policies.md): sealed bytes, whose key Vault does not give.
    assert set(stolen["patched"]) - set(refused) == {"our code: get of row 0"}

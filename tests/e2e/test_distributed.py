"""A distributed Airflow with two identities: what each may have, and what becomes of its tasks when things break.

One deployment for the whole file (tests/e2e/distributed.py). What befalls it is done once, each by a fixture; what
is said of the whole of it comes last, when everything has been stopped.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest

from secure_xcom import errors
from tests.e2e import disturbances
from tests.e2e.describe import digest
from tests.e2e.distributed import SETUP, TEAMS, Distributed, distributed, new_seed
from tests.e2e.disturbances import DOWN, KILLED, SEALED, Disturbed
from tests.e2e.hunt import Hunt, canary
from tests.support.audit_reading import read_chains

COUNT = 1000 if os.environ.get("SECURE_XCOM_TEST_WHOLE") == "true" else 60
DOCS = Path(__file__).parents[2] / "docs" / "evidence" / "faults.md"
RUN = "ways"
WAYS = ("produce", "double", "gather", "before it defers", "after it deferred")


@dataclass(frozen=True)
class Row:
    """A row of the fault table: what befell a task, and what is left of its first try.

    :ivar says: the error in the log of that try; none where nobody was left to write it.
    :ivar payloads: how many objects of it no row names; :ivar chain: its access log's chain has no end.
    :ivar unwrap: Vault's log has an unwrap of it that no event tells of.
    """

    fault: str
    run: str
    team: str
    task: str
    says: str = ""
    payloads: int = 0
    chain: bool = False
    unwrap: bool = False

    def cells(self) -> list[str]:
        """As the table has it."""
        left = [
            "the payloads it stored, for `gc`" if self.payloads else "",
            "an open chain (`interrupted`)" if self.chain else "",
            "an unwrap without an event (`outside`)" if self.unwrap else "",
        ]
        says = f"`{self.says}`" if self.says else "nothing; Airflow misses its heartbeat"
        return [self.fault, says, "a later try succeeds", "; ".join(filter(None, left)) or "nothing"]


_KILLED = "the worker and its tasks are killed (`kill -9`)"
# Each task had pushed an XCom before, but for those that met a sealed Vault or no bucket with their first one.
ROWS = (
    Row(f"{_KILLED} during a push, before the put", KILLED, "finance", "pushes", "", 1, chain=True),
    Row(f"{_KILLED} during a push, after the put", KILLED, "marketing", "pushes", "", 2, chain=True),
    Row(f"{_KILLED} during a pull, before the get", KILLED, "finance", "pulls", "", 1, chain=True, unwrap=True),
    Row(f"{_KILLED} during a pull, after the get", KILLED, "marketing", "pulls", "", 1, chain=True, unwrap=True),
    Row("Vault is sealed before a push", SEALED, "finance", "pushes", "KeyServiceSealed"),
    Row("Vault is sealed between a push and a pull", SEALED, "finance", "pulls", "KeyServiceSealed", 1),
    Row("the bucket is down before a push", DOWN, "finance", "pushes", "StoreUnavailable"),
    Row("the bucket goes down between a push and a pull", DOWN, "finance", "pulls", "StoreUnavailable", 1),
)


def table() -> str:
    """The fault table of docs/evidence/faults.md."""
    lines = ["| fault | the try's log says | then | left behind |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row.cells())} |" for row in ROWS)])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distributed]:
    """The deployment, while it runs."""
    with distributed(tmp_path_factory.mktemp("distributed"), new_seed(), count=COUNT) as found:
        yield found


@pytest.fixture(scope="module")
def honest(site: Distributed) -> tuple[dict[str, str], set[tuple[str, str]]]:
    """The states of runs of which none tries what it may not, and what the broker refused until then."""
    dags = ("finance_daily", "finance_ways", "marketing_ways")
    site.trigger(*dags, run_id=RUN)
    return site.wait(*dags, run_id=RUN), site.refusals()


@pytest.fixture(scope="module")
def ways(site: Distributed, honest: tuple[dict[str, str], set[tuple[str, str]]]) -> dict[str, str]:
    """The state of a run of each DAG that nothing befalls."""
    found = dict(honest[0])
    # Both pull what was pushed by then.
    for then in (("marketing_report", "marketing_hostile"), ("marketing_reads",)):
        site.trigger(*then, run_id=RUN)
        found.update(site.wait(*then, run_id=RUN))
    return found


def test_a_new_total_starts_the_report(site: Distributed, ways: dict[str, str]) -> None:
    """The example's own way: the asset's event starts marketing's run, which pulls from the run that it names."""
    started = "SELECT state FROM dag_run WHERE dag_id = 'marketing_report' AND run_id <> :run"
    site.until(lambda: site.rows(started, run=RUN) == [("success",)], "the report that finance's total started")


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
    sealing = audit("anchor", "--quiet", "0", *where, *sinks)[1]
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
        for conn_id in ("vault_xcom", "s3_xcom", "s3_task_logs"):
            for part in ("login", "password"):
                assert mine[conn_id][part] in has
                assert theirs[conn_id][part] not in has
        assert str(site.database.url.database) not in has
        assert site.airflow.settings["api.secret_key"] not in has
        # Its files of secrets: one, with the login of its own queue.
        folder = site.beside / "secrets" / team
        assert [file.name for file in folder.iterdir()] == ["broker_url"]
        assert (folder / "broker_url").read_text().startswith(f"redis://worker-{team}:")


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


@pytest.mark.parametrize("team", TEAMS)
def test_task_logs_are_read_from_the_bucket(site: Distributed, ways: dict[str, str], team: str) -> None:
    """The API server shows a task's log, which its worker put there and serves to nobody."""
    path = f"/api/v2/dags/{team}_ways/dagRuns/{RUN}/taskInstances/produce/logs/1?full_content=true"
    shown = json.dumps(site.airflow.api("GET", path)["content"])
    key = f"queue={team}/dag_id={team}_ways/run_id={RUN}/task_id=produce/attempt=1.log"
    assert f"s3://{SETUP.LOGS_BUCKET}/{key}" in shown
    events = [json.loads(line)["event"] for line in site.task_log(key).splitlines()]
    assert [event for event in events if json.dumps(event) not in shown] == []
    assert len(events) > 1


def test_a_shared_reader_pulls_what_it_is_a_reader_of(site: Distributed, ways: dict[str, str]) -> None:
    """Marketing gets the totals that finance publishes, and no other XCom of the same run; so says its report."""
    assert ways["marketing_reads"] == ways["marketing_report"] == "success"
    notes = site.notes()
    assert [one[1] for one in notes.got["shared"]] == [digest({"total": 42})]
    assert [one[1] for one in notes.got["report"]] == [digest("total: 42")]
    assert notes.said["not shared"] == ["AccessRefused"]


def test_hostile_code_is_refused_by_the_servers(stolen: dict[str, Any]) -> None:
    """With all that its worker has, but without our code, a task gets nothing of the other team: 403 from both."""
    assert stolen["own"] == {
        "Vault: unwrap its own": "200",
        "S3: get its own object": "opened",
        "S3: list its own task logs": "opened",
    }
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
    # Buckets know no tasks (docs/reference/service-policies.md): sealed bytes, whose key Vault does not give.
    assert set(stolen["patched"]) - set(refused) == {"our code: get of row 0"}


def test_the_broker_refuses_nothing_that_is_honest(
    honest: tuple[dict[str, str], set[tuple[str, str]]],
) -> None:
    """Scheduler and workers do all that they do with the logins that they have."""
    states, refusals = honest
    assert set(states.values()) == {"success"}
    assert refusals == set()


def test_the_broker_refuses_every_way_to_the_other_queue(stolen: dict[str, Any]) -> None:
    """With its worker's login a task reaches no key, channel or command that has code run on the other worker."""
    tried = stolen["broker"]
    guesses = {name: tried.pop(name) for name in list(tried) if name.startswith("AUTH ")}
    assert set(guesses.values()) == {"not the password"}
    assert {name: answer for name, answer in tried.items() if answer != "refused"} == {}
    assert len(tried) > 250


# --- what breaks --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def disturbed(killed: Disturbed, sealed: Disturbed, down: Disturbed) -> dict[str, Disturbed]:
    """Everything that befell it, by run."""
    return {KILLED: killed, SEALED: sealed, DOWN: down}


@pytest.mark.parametrize("row", ROWS, ids=[row.fault for row in ROWS])
def test_a_fault_ends_one_try_and_a_later_one_ends_right(row: Row, disturbed: dict[str, Disturbed]) -> None:
    """The try fails closed, by an error with a name and a remedy unless it was killed; a retry ends right."""
    found = disturbed[row.run]
    fate = found.fates[row.team, row.task]
    assert (fate.state, fate.tries > 1, set(fate.said)) == ("success", True, {row.says} - {""})
    if row.says:
        assert issubclass(getattr(errors, row.says), errors.SecureXComError)
    left = [key for key in found.orphans if f"/{row.team}_faults/{row.run}/{row.task}/" in key]
    assert len(left) == row.payloads, left


@pytest.mark.parametrize("run", [KILLED, SEALED, DOWN])
@pytest.mark.parametrize("team", TEAMS)
def test_nothing_is_lost(site: Distributed, disturbed: dict[str, Disturbed], team: str, run: str) -> None:
    """The run ends right, and each reader got what was pushed, once."""
    assert disturbed[run].runs[f"{team}_faults"] == "success"
    got = site.notes().got
    for name in ("seed", "pushed"):
        expected = digest(value_of(site, f"{team} {run} {name}"))
        assert [one[1] for one in got[f"{team} {run} {name}"]] == [expected]


def test_the_page_has_the_fault_table(record_property: Callable[[str, object], None]) -> None:
    """docs/evidence/faults.md shows the table that these tests hold true; it is printed with every run."""
    record_property("faults", table())
    assert table() in DOCS.read_text()


def test_many_mapped_task_instances(site: Distributed, many: tuple[dict[str, str], float]) -> None:
    """Each of many mapped instances pulls and pushes, and the last task of each team has all of them."""
    states, seconds = many
    half = COUNT // 2
    print(f"{COUNT} mapped task instances in {seconds:.0f} s, {60 * COUNT / seconds:.0f} a minute")
    assert states == {f"{team}_many": "success" for team in TEAMS}
    said = site.notes().said
    for team in TEAMS:
        assert said[f"{team} many total"] == [f"{half} {sum(range(half))}"]
    rows = site.rows("SELECT value FROM xcom WHERE run_id = 'many' AND task_id = 'each'")
    assert len({value["keys"][0]["wrapped"] for (value,) in rows}) == len(rows) == half * 2


# --- what is left -------------------------------------------------------------------------------------------


def test_every_row_is_a_reference_whose_object_is_there(site: Distributed, left: Left) -> None:
    """PostgreSQL holds references alone, and the bucket has what each of them names."""
    references = site.references()
    assert {reference["secure_xcom"] for reference in references} == {1}
    assert len(references) > COUNT
    assert disturbances.lost(site) == set()


def test_no_plaintext_lies_anywhere(site: Distributed, left: Left) -> None:
    """No canary is in PostgreSQL, Redis, the bucket, a log of any component or any other file, in any form."""
    assert left.hunt.places() == {}
    assert len(site.notes().canaries) > 30
    assert left.hunt.searched_bytes > 5_000_000


def test_the_access_logs_verify(left: Left) -> None:
    """Nothing was tampered with; the chains without an end are those of the killed tries, each of them named."""
    code, told = left.verify
    assert (code, told["sealed"], told["events"]) == (0, left.seal["entries"], left.seal["entries"])
    assert left.seal["unsealable"] == []
    assert Counter(found["kind"] for found in told["found"]) == {"interrupted": 4}
    ended = Counter()  # type: Counter[tuple[str, str, str, int]]
    for found in told["found"]:
        task = left.chains[found["chain"]][-1]["task"]
        ended[task["dag_id"], task["run_id"], task["task_id"], task["try_number"]] += 1
    expected = {(f"{row.team}_faults", row.run, row.task, 1): 1 for row in ROWS if row.chain}
    assert ended == expected


def test_vaults_own_log_tells_the_same(stolen: dict[str, Any], left: Left) -> None:
    """Each unwrap has its event, but for those of two killed pulls and the hostile task's, which are all found.

    What the hostile task was refused is found as well, also where an honest pull of the same is near.
    """
    told = left.reconcile[1]
    findings = [gap for gap in told["gaps"] if gap["finding"]]
    about: dict[str, set[str]] = defaultdict(set)
    for gap in findings:
        about[gap["kind"]].add(gap["text"].rpartition("context of ")[2].rstrip(")"))
    killed = {f"{row.team}_faults/{row.run}/seed" for row in ROWS if row.unwrap}
    assert about == {
        "outside": killed | {"marketing_ways/ways/produce"},
        "attempt": {"finance_daily/ways/collect", "finance_ways/ways/produce"},
    }
    assert told["pairs"] > COUNT


def test_the_other_worker_never_hears_of_it(site: Distributed, left: Left) -> None:
    """Finance's worker got no message of the hostile task, and nobody but that task was refused anything."""
    assert "hostile_task" not in site.workers["finance"].output.read_text(errors="replace")
    assert {login for login, _ in site.refusals()} == {"worker-marketing"}


def test_task_logs_lie_below_their_queue(site: Distributed, left: Left) -> None:
    """Each worker's logs are in its own folder of the bucket, and nothing of another team's is."""
    folders = defaultdict(set)  # type: dict[str, set[str]]
    for key in site.objects(SETUP.LOGS_BUCKET):
        queue, dag, *_ = key.split("/")
        folders[queue].add(dag.removeprefix("dag_id=").partition("_")[0])
    assert folders["queue=finance"] == {"finance"}
    assert "hostile" not in str(folders["queue=finance"])
    assert "marketing" in folders["queue=marketing"]

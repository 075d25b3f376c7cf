"""Delete expired XComs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import AuditError, ReferenceExpired
from secure_xcom.core.store_errors import StoreUnavailable
from secure_xcom.ops.jobs.expire import ExpireReport, expire
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import store
from tests.support.doubles import MemorySink, MemoryStore
from tests.support.each_step import Wrap, every_step
from tests.support.upkeep_world import Upkeep
from tests.support.world import coordinate

RETENTION = "    retention: 1h\n"


@pytest.fixture(params=Schema)
def upkeep(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Upkeep]:
    """A deployment whose XComs are good for an hour, on each schema of Airflow's tables."""
    made = Upkeep(tmp_path / "one", schema=request.param, more=RETENTION)
    yield made
    made.close()


def age(upkeep: Upkeep, at: Coordinate, hours: float) -> None:
    """Make a row one that was pushed so long ago. Its seal no longer fits, which no maintenance may need."""
    value = upkeep.table.value(at)
    form = "%Y-%m-%dT%H:%M:%SZ"
    for name in ("created", "expires"):
        if name in value["head"]:
            moved = datetime.strptime(value["head"][name], form).replace(tzinfo=timezone.utc) - timedelta(
                hours=hours
            )
            value["head"][name] = moved.strftime(form)
    upkeep.table.put(at, value)


def run(upkeep: Upkeep, *, delete: bool = True, **options: Any) -> ExpireReport:
    """Expire, without a grace."""
    database = upkeep.table.database()
    log = AccessLog([upkeep.sink], version="test")
    options = {"grace": timedelta(0), **options}
    try:
        return expire(upkeep.policy, database, log, upkeep.state, delete=delete, operator="me", **options)
    finally:
        database.close()


def test_what_is_expired_goes_with_its_payload(upkeep: Upkeep) -> None:
    """Expired rows and their payloads go, the others stay and can be pulled; a dry run changes nothing."""
    old, new = upkeep.push("old"), upkeep.push("new")
    age(upkeep, old, 2)
    dry = run(upkeep, delete=False)
    assert (dry.expired, dry.deleted, dry.examples) == (1, 0, [str(old)])
    assert dry.found
    with pytest.raises(ReferenceExpired):
        upkeep.pull(old)
    done = run(upkeep)
    assert (done.expired, done.deleted, done.failed, done.found) == (1, 1, 0, False)
    assert upkeep.table.value(old) is None
    assert len(upkeep.objects()) == 1
    assert upkeep.pull(new) == "new"


def test_each_deletion_is_in_the_access_log(upkeep: Upkeep) -> None:
    """The log names the XCom and the operator, and where it takes nothing, nothing is deleted."""
    at = upkeep.push("old")
    age(upkeep, at, 2)
    upkeep.sink.full = True
    with pytest.raises(AuditError):
        run(upkeep)
    assert len(upkeep.objects()) == 1
    upkeep.sink.full = False
    run(upkeep)
    record = upkeep.sink.records[-1]
    assert (record["action"], record["outcome"], record["operator"]) == ("expire", "ok", "me")
    assert record["producer"]["key"] == at.key


def test_a_clock_that_is_an_hour_fast_deletes_nothing_early(upkeep: Upkeep) -> None:
    """Within the grace of an hour what is expired by this machine's clock is left."""
    at = upkeep.push("x")
    age(upkeep, at, 1.9)
    assert run(upkeep, grace=timedelta(hours=1)).expired == 0
    age(upkeep, at, 0.2)
    assert run(upkeep, grace=timedelta(hours=1)).expired == 1


@pytest.mark.parametrize(
    ("times", "unreadable"),
    [
        ({"created": "9999-12-31T23:59:59Z"}, 0),
        ({"created": "2026-02-30T00:00:00Z"}, 1),
        ({"created": "2026-01-01T00:00:00Z", "expires": "2026-13-01T00:00:00Z"}, 1),
    ],
)
def test_a_row_with_an_impossible_time_stops_nothing(
    upkeep: Upkeep, times: dict[str, str], unreadable: int
) -> None:
    """Who writes to the database cannot end the job for all rows with a time that nobody can compute with."""
    first = upkeep.push("edited", coordinate(task_id="a"))
    value = upkeep.table.value(first)
    head = {name: text for name, text in value["head"].items() if name != "expires"}
    upkeep.table.put(first, {**value, "head": {**head, **times}})
    age(upkeep, upkeep.push("old", coordinate(task_id="b")), 2)
    report = run(upkeep)
    assert (report.unreadable, report.deleted) == (unreadable, 1)
    assert upkeep.table.value(first) is not None


def test_a_retention_that_came_later_counts_as_well(upkeep: Upkeep) -> None:
    """A reference without an end is judged by its creation and today's retention, by key where that says so."""
    upkeep.write_policy()
    old, kept = upkeep.push(1), upkeep.push(2, coordinate(key="kept"))
    for at in (old, kept):
        assert "expires" not in upkeep.table.value(at)["head"]
        age(upkeep, at, 2)
    assert run(upkeep).expired == 0
    upkeep.write_policy(f"{RETENTION}    retention_of: [{{keys: [kept], retention: 9w}}]\n")
    assert run(upkeep).deleted == 1
    assert upkeep.table.value(kept) is not None


def test_a_legal_hold_stands_above_it(upkeep: Upkeep) -> None:
    """What is held stays, by DAG and by run."""
    upkeep.write_policy(f"{RETENTION}legal_holds:\n  - {{name: case, dags: [orders], runs: ['held*']}}\n")
    held, other = upkeep.push(1, coordinate(run_id="held 1")), upkeep.push(2)
    age(upkeep, held, 2)
    age(upkeep, other, 2)
    report = run(upkeep)
    assert (report.held, report.deleted) == (1, 1)
    assert upkeep.table.value(held) is not None


def test_an_edited_reference_deletes_nothing_elsewhere(upkeep: Upkeep) -> None:
    """An expired reference that was copied to another row, or names another object, deletes no payload."""
    at, victim = upkeep.push("old"), upkeep.push("victim")
    age(upkeep, at, 2)
    value = upkeep.table.value(at)
    upkeep.table.put(coordinate(key="copy"), value)
    value["head"]["object"] = upkeep.table.value(victim)["head"]["object"].replace("extract", "other")
    upkeep.table.put(at, value)
    report = run(upkeep)
    assert (report.unreadable, report.failed, report.deleted) == (1, 1, 0)
    assert len(upkeep.objects()) == 2


def test_a_store_that_is_down_keeps_the_row(upkeep: Upkeep) -> None:
    """A payload that cannot be deleted keeps its row, so that the next run finds it."""
    at = upkeep.push("old")
    age(upkeep, at, 2)
    double = MemoryStore(upkeep.store_uri)
    double.failures = dict.fromkeys(upkeep.objects(), StoreUnavailable("down"))
    report = run(upkeep, stores=lambda _: double)
    assert (report.failed, report.deleted) == (1, 0)
    assert upkeep.table.value(at) is not None
    assert [record["outcome"] for record in upkeep.sink.records if record["action"] == "expire"] == [
        "ok",
        "failed",
    ]
    assert run(upkeep).deleted == 1


def test_a_row_that_was_written_anew_stays(upkeep: Upkeep) -> None:
    """A task that pushes the key again while expire is at it keeps its new value."""
    at = upkeep.push("old")
    age(upkeep, at, 2)

    class Pushes(MemoryStore):
        def delete_many(self, paths: Any) -> Any:
            upkeep.push("new", at)
            return store(upkeep.store_uri).delete_many(paths)

    report = run(upkeep, stores=Pushes)
    assert (report.changed, report.deleted) == (1, 0)
    assert upkeep.pull(at) == "new"


def test_killed_at_any_step_it_finishes_when_run_again(tmp_path: Path) -> None:
    """After SIGKILL at each step in turn, a second run leaves no expired row or payload and every other one."""

    def begin(folder: Path) -> Upkeep:
        made = Upkeep(folder, more=RETENTION)
        made.live = [made.push("live")]
        for _ in range(2):
            age(made, made.push("old"), 3)
        made.close()
        return made

    def job(world: Upkeep, wrap: Wrap) -> None:
        database = world.table.database()
        log = AccessLog([wrap(MemorySink())], version="test")
        expire(
            world.policy,
            wrap(database),
            log,
            world.state,
            delete=True,
            operator="me",
            stores=lambda uri: wrap(store(uri)),
        )
        database.close()

    def end(world: Upkeep) -> None:
        assert len(world.table.values()) == len(world.objects()) == 1
        assert world.pull(*world.live) == "live"
        world.close()

    assert every_step(tmp_path, begin, job, end) > 8


def test_the_command(upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dry by default with exit code 1; with --apply and --json it deletes and says so."""
    age(upkeep, upkeep.push("old"), 3)
    config = upkeep.folder / "airflow.cfg"
    config.write_text(
        f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\naudit_sinks = file://{upkeep.folder}/log.jsonl\n"
    )
    monkeypatch.setenv("SECURE_XCOM_DB", upkeep.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(upkeep.folder / "home"))
    dry = CliRunner().invoke(app, ["expire", "--config", str(config)])
    assert dry.exit_code == 1
    assert "run it with --apply" in dry.stdout
    done = CliRunner().invoke(app, ["expire", "--apply", "--json", "--config", str(config)])
    assert (done.exit_code, json.loads(done.stdout)["deleted"]) == (0, 1)
    lines = (upkeep.folder / "log.jsonl").read_text().splitlines()
    assert "expire" in [json.loads(line)["action"] for line in lines]

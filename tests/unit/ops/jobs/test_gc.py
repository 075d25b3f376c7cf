"""Orphans, both ways."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.operator_errors import DatabaseFailed, MaintenanceError, StateInvalid, UnsafeRefused
from secure_xcom.core.pipeline.push_and_pull import Push
from secure_xcom.core.store_errors import StoreUnavailable
from secure_xcom.ops.jobs.gc import collect
from secure_xcom.ops.jobs.gc_inventory import locked
from secure_xcom.ops.jobs.gc_report import GcReport
from secure_xcom.stores import Store, StoredObject, store
from tests.support.doubles import MemoryStore
from tests.support.each_step import Wrap, every_step
from tests.support.upkeep_world import ZERO, Upkeep, long_ago, settle, unique_of
from tests.support.world import coordinate, own_task


@pytest.fixture(params=Schema)
def upkeep(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Upkeep]:
    """A deployment, on each schema of Airflow's tables."""
    made = Upkeep(tmp_path / "one", schema=request.param)
    yield made
    made.close()


def run(upkeep: Upkeep, *, delete: bool = True, **options: Any) -> GcReport:
    """Gc without a window, so that what was just pushed is old enough."""
    settle()
    database = upkeep.table.database()
    try:
        options = {"window": ZERO, "max_share": 1.0, **options}
        return collect(upkeep.policy, database, upkeep.state, delete=delete, **options)
    finally:
        database.close()


def test_every_kind_of_orphan_goes_and_nothing_else(upkeep: Upkeep) -> None:
    """Payloads of deleted rows, of second pushes and of failed tasks go; those that a row names stay."""
    kept = [upkeep.push({"n": number}) for number in range(5)]
    long_ids = coordinate(dag_id="d" * 250, run_id="manual__2026-01-01T00:00:00+00:00" + "ü" * 100)
    kept.append(upkeep.push("long", long_ids))
    deleted = upkeep.push("rest delete")
    upkeep.table.delete(deleted)
    upkeep.push("first push", kept[0])
    upkeep.push("second push", kept[0])
    upkeep.push("failed task", row=False)
    upkeep.push("failed task with long ids", coordinate(dag_id="e" * 250), row=False)
    dry = run(upkeep, delete=False)
    assert (dry.orphans, dry.deleted, dry.missing, len(upkeep.objects())) == (5, 0, 0, 11)
    done = run(upkeep)
    assert (done.orphans, done.deleted, done.failed, done.payloads) == (5, 5, 0, 11)
    assert done.deleted_bytes == done.orphan_bytes > 0
    assert len(upkeep.objects()) == 6
    assert [upkeep.pull(at) for at in kept[1:5]] == [{"n": number} for number in range(1, 5)]
    assert (upkeep.pull(kept[0]), upkeep.pull(long_ids)) == ("second push", "long")
    assert run(upkeep).orphans == 0
    assert not upkeep.state.exists()


def test_rows_without_a_payload_are_named_and_stay(upkeep: Upkeep) -> None:
    """A row whose payload is gone is reported by its coordinate, and no row is deleted."""
    at = upkeep.push("a")
    upkeep.push("b")
    path = next(
        found for found in upkeep.objects() if f"/{found.split('/')[-1]}" in json.dumps(upkeep.table.value(at))
    )
    upkeep.store().delete_many([path])
    report = run(upkeep)
    assert (report.missing, report.missing_examples, report.rows) == (1, [str(at)], 2)
    assert report.found


def test_a_payload_of_today_is_missed_as_well(upkeep: Upkeep) -> None:
    """Within the window nothing is an orphan, and a row whose payload is gone is named all the same."""
    gone, there = upkeep.push("a"), upkeep.push("b")
    [path] = [path for path in upkeep.objects() if path in upkeep.table.value(gone)["head"]["object"]]
    upkeep.store().delete_many([path])
    report = run(upkeep, window=timedelta(hours=24))
    assert (report.young, report.missing, report.missing_examples) == (1, 1, [str(gone)])
    assert upkeep.pull(there) == "b"


def test_payloads_from_a_backup_are_there(upkeep: Upkeep) -> None:
    """Old payloads that were put anew today, as by a restore, are neither orphans nor missing, by one listing."""
    rows = [upkeep.push(n) for n in range(5)]
    double = MemoryStore(upkeep.store_uri)
    for at in rows:
        value = upkeep.table.value(at)
        folder, _, _ = value["head"]["object"].rpartition("/")
        value["head"]["object"] = f"{folder}/{unique_of(long_ago(days=3))}"
        upkeep.table.put(at, value)
        double.put(value["head"]["object"].removeprefix(f"{upkeep.store_uri}/"), [b"x"])
    report = run(upkeep, window=timedelta(hours=24), stores=lambda _: double)
    assert (report.young, report.missing, report.orphans, double.requests["list"]) == (5, 0, 0, 1)


def test_a_shredded_xcom_misses_no_payload(upkeep: Upkeep) -> None:
    """The row of an exclusive XCom that was read and shredded stays, and its payload counts as gone on purpose."""
    at = upkeep.push("once")
    value = upkeep.table.value(at)
    head = {**value["head"], "exclusive": "store"}
    shredded = {**value, "head": head, "keys": [], "shredded": "2026-01-01T00:00:00Z"}
    upkeep.table.put(at, {name: part for name, part in shredded.items() if name != "preview"})
    upkeep.store().delete_many(upkeep.objects())
    report = run(upkeep)
    assert (report.references, report.missing, report.found) == (1, 0, False)


def test_claims_are_no_orphans(upkeep: Upkeep) -> None:
    """Claims of exclusive XComs lie below the compartment and are none of gc's."""
    claim = f"pay/~claims/orders/run/extract/-1/{unique_of(long_ago(days=9))}"
    upkeep.store().put(claim, [b"x"])
    assert (run(upkeep).foreign, upkeep.objects()) == (1, [claim])


def test_young_payloads_are_left_alone_by_either_clock(upkeep: Upkeep) -> None:
    """A payload stays while its own name or the store's clock says that it is young, an hour of skew included."""
    report = run(upkeep, window=timedelta(hours=24))
    folder = "pay/orders/run/extract/-1"
    double = MemoryStore(upkeep.store_uri)
    # Written a day and two hours ago by a worker whose clock is an hour fast, and by one that is an hour slow.
    for hours_named, hours_stored in ((1, 30), (30, 1), (25, 26), (27, 26), (23, 26), (30, 23.5)):
        path = f"{folder}/{unique_of(long_ago(hours=hours_named))}"
        double.put(path, [b"x"])
        double.written[path] = long_ago(hours=hours_stored)
    report = run(upkeep, window=timedelta(hours=24), stores=lambda _: double)
    assert (report.payloads, report.young, report.deleted) == (2, 4, 2)


def test_only_names_of_ours_are_ever_deleted(upkeep: Upkeep) -> None:
    """What lies beside payloads, whatever it is named, is counted as foreign and stays; a dead put's part goes."""
    unique = unique_of(long_ago(days=9))
    foreign = [
        "notes.txt",
        f"other/orders/run/extract/-1/{unique}",
        f"pay/orders/run/extract/{unique}",
        f"pay/orders/run/extract/-2/{unique}",
        f"pay/orders/run/extract/-1/more/{unique}",
        f"pay/orders/run/extract/-1/{unique[:14]}4{unique[15:]}",
        f"pay/or%00ders/run/extract/-1/{unique}",
        f"pay/orders/r%FFun/extract/-1/{unique}",
        f"pay/orders/run/%65xtract/-1/{unique}",
        f"pay/{'d' * 251}/run/extract/-1/{unique}",
        "pay/orders/run/extract/-1/claim",
        "pay/orders/run/.part~0123456789abcdef",
    ]
    for path in foreign:
        upkeep.store().put(path, [b"x"]) if ".part~" not in path else _write(upkeep, path)
    staged = "pay/orders/run/extract/-1/.part~0123456789abcdef"
    _write(upkeep, staged)
    # A name that is no UTF-8, which no file of the job's own can hold.
    foreign.append("pay/orders/\udcff/extract/-1/.part~0123456789abcdef")
    _write(upkeep, foreign[-1])
    for path in (staged, *foreign[-2:]):
        os.utime(upkeep.folder / "store" / path, (time.time() - 90_000,) * 2)
    report = run(upkeep)
    assert (report.deleted, report.orphans) == (1, 1)
    assert upkeep.objects() == sorted(foreign)


def _write(upkeep: Upkeep, path: str) -> None:
    target = upkeep.folder / "store" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"x")


def test_a_reference_of_a_version_to_come_keeps_its_payload(upkeep: Upkeep) -> None:
    """What a later release wrote stays; a row that names nothing protects nothing, though it is tagged."""
    newer, broken = upkeep.push("newer"), upkeep.push("broken", coordinate(task_id="other"))
    value = upkeep.table.value(newer)
    upkeep.table.put(newer, {**value, "secure_xcom": 2, "more": "fields"})
    upkeep.table.put(broken, {"secure_xcom": 1, "head": "edited"})
    report = run(upkeep)
    assert (report.unreadable, report.orphans, report.deleted, report.held) == (2, 2, 1, 1)
    assert len(upkeep.objects()) == 1


def test_a_long_row_keeps_its_payload(upkeep: Upkeep) -> None:
    """A reference that is too long to be read with its page still counts as one."""
    at = upkeep.push({"followed": ["x"]}, coordinate(key="skipmixin_key"))
    upkeep.table.put(at, {**upkeep.table.value(at), "followed": ["t" * 250] * 1000})
    report = run(upkeep)
    assert (report.references, report.orphans) == (1, 0)


def test_a_legal_hold_keeps_orphans(upkeep: Upkeep) -> None:
    """Payloads of a held DAG or run stay, also without a row."""
    upkeep.write_policy(
        "legal_holds:\n  - {name: one, dags: [held*]}\n  - {name: two, dags: [orders], runs: ['audit*']}\n"
    )
    upkeep.push(1, coordinate(dag_id="held-dag"), row=False)
    upkeep.push(1, coordinate(run_id="audit 1"), row=False)
    upkeep.push(1, coordinate(), row=False)
    report = run(upkeep)
    assert (report.orphans, report.held, report.deleted) == (3, 2, 1)


def test_the_wrong_database_deletes_nothing(upkeep: Upkeep) -> None:
    """Where more than the allowed share has no row, nothing is deleted and the error names the way on."""
    for _ in range(30):
        upkeep.push(1, row=False)
    with pytest.raises(UnsafeRefused) as caught:
        run(upkeep, max_share=0.5)
    assert "--max-share 1" in caught.value.remedy
    assert len(upkeep.objects()) == 30
    assert run(upkeep).deleted == 30


def test_killed_at_any_step_it_finishes_when_run_again(tmp_path: Path) -> None:
    """After SIGKILL at each step in turn, a second run deletes what is left to delete and no live payload."""

    def begin(folder: Path) -> Upkeep:
        made = Upkeep(folder)
        made.live = [made.push(number) for number in range(2)]
        for _ in range(3):
            made.push("orphan", row=False)
        made.close()
        settle()
        return made

    def job(world: Upkeep, wrap: Wrap) -> None:
        database = world.table.database()
        collect(
            world.policy,
            wrap(database),
            world.state,
            delete=True,
            window=ZERO,
            max_share=1.0,
            rate=0,
            stores=lambda uri: wrap(store(uri)),
        )
        database.close()

    def end(world: Upkeep) -> None:
        assert len(world.objects()) == 2
        assert [world.pull(at) for at in world.live] == [0, 1]
        world.close()

    assert every_step(tmp_path, begin, job, end) > 10


def test_one_at_a_time(upkeep: Upkeep) -> None:
    """A second gc on the same state file is refused while the first one runs."""
    with locked(upkeep.state), pytest.raises(MaintenanceError):
        run(upkeep)


def test_a_state_of_another_job_is_begun_anew(upkeep: Upkeep) -> None:
    """A state file that a stopped run of other settings left behind is not believed."""
    upkeep.push("kept")
    double = MemoryStore(upkeep.store_uri)

    class Stops(MemoryStore):
        def list(self, prefix: str = "") -> Iterator[StoredObject]:
            raise StoreUnavailable("down", where=self.uri)

    with pytest.raises(StoreUnavailable):
        run(upkeep, stores=lambda _: Stops(upkeep.store_uri))
    assert upkeep.state.exists()
    orphan = f"pay/orders/run/extract/-1/{unique_of(long_ago(days=1))}"
    double.put(orphan, [b"x"])
    double.written[orphan] = long_ago(days=1)
    assert run(upkeep, stores=lambda _: double, window=timedelta(hours=1)).deleted == 1


def test_a_broken_state_file_is_told(upkeep: Upkeep) -> None:
    """What is no state file is an error of ours that names it."""
    upkeep.state.parent.mkdir(parents=True)
    upkeep.state.write_text("not a database, " * 100)
    with pytest.raises(StateInvalid):
        run(upkeep)


def test_a_store_that_fails_is_told_and_gone_on_with(upkeep: Upkeep) -> None:
    """A payload that cannot be deleted is named, the others go, and the next run tries it again."""
    double = MemoryStore(upkeep.store_uri)
    paths = [f"pay/orders/run/extract/-1/{unique_of(long_ago(days=1))}" for _ in range(3)]
    for path in paths:
        double.put(path, [b"x"])
        double.written[path] = long_ago(days=1)
    double.failures[paths[1]] = StoreUnavailable("busy", where=paths[1])
    report = run(upkeep, stores=lambda _: double)
    assert (report.deleted, report.failed) == (2, 1)
    assert paths[1] in report.failures[0]
    double.failures.clear()
    assert run(upkeep, stores=lambda _: double).deleted == 1


def test_a_database_that_goes_down_stops_it_before_a_deletion(upkeep: Upkeep) -> None:
    """Rows that cannot be read end the run, with nothing deleted and the state kept."""
    upkeep.push("orphan", row=False)
    name = "xcom" if upkeep.schema is Schema.COORDINATES else "xcom_v2"
    upkeep.table.execute(f"ALTER TABLE {name} RENAME TO away")
    with pytest.raises(DatabaseFailed):
        run(upkeep)
    assert len(upkeep.objects()) == 1
    upkeep.table.execute(f"ALTER TABLE away RENAME TO {name}")
    assert run(upkeep).deleted == 1


def test_the_rate_is_held(upkeep: Upkeep) -> None:
    """Twenty deletions at forty a second take about half a second, not less."""
    for _ in range(20):
        upkeep.push("orphan", row=False)
    begun = time.monotonic()
    assert run(upkeep, rate=40).deleted == 20
    assert time.monotonic() - begun >= 0.45


@pytest.mark.slow
@pytest.mark.file_times
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pushes", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_pushes_beside_gc_lose_nothing(upkeep: Upkeep, pushes: int) -> None:
    """While tasks push values, a part of them orphaned, gc runs again and again: no live payload goes."""
    window = timedelta(seconds=10)
    live: list[tuple[Any, str]] = []
    slowest = 0.0

    def work() -> None:
        nonlocal slowest
        pipeline = upkeep.pipeline()
        start = 0
        # It goes on until something that it left without a row is old enough, and was deleted beside it.
        while start < pushes or (start < 20_000 and not any(report.deleted for report in reports)):
            begun = time.monotonic()
            batch = [Push(coordinate(run_id=f"r{start}", map_index=n, key="k"), n) for n in range(10)]
            pushed = pipeline.push(batch, producer=own_task(batch[0].coordinate))
            rows = [
                (push.coordinate, value)
                for n, (push, value) in enumerate(zip(batch, pushed, strict=True))
                if n % 5
            ]
            upkeep.table.put_many(rows)
            slowest = max(slowest, time.monotonic() - begun)
            live.extend((at, value["head"]["object"]) for at, value in rows)
            time.sleep(0.016)
            start += 10

    reports: list[GcReport] = []
    pusher = threading.Thread(target=work)
    pusher.start()
    while pusher.is_alive():
        reports.append(run(upkeep, window=window))
    pusher.join()
    # A push that takes longer than the window is what the window is there for; here it would prove nothing.
    assert slowest < window.total_seconds() / 2
    there = set(upkeep.objects())
    assert len(live) >= pushes * 4 // 5
    assert [at for at, uri in live if uri.removeprefix(f"{upkeep.store_uri}/") not in there] == []
    assert sum(report.deleted for report in reports) > 0
    assert sum(report.alive for report in reports) == sum(report.missing for report in reports) == 0
    time.sleep(window.total_seconds() + 1)
    run(upkeep, window=window)
    assert len(upkeep.objects()) == len(live)


def command(upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch, words: Sequence[str]) -> Any:
    """The command, in the deployment's environment."""
    config = upkeep.folder / "airflow.cfg"
    config.write_text(f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\n")
    monkeypatch.setenv("SECURE_XCOM_DB", upkeep.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(upkeep.folder / "home"))
    return CliRunner().invoke(app, [*words, "--config", str(config)])


def test_the_command(upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dry by default, exit code 1 while something is left, JSON on request; the window has a least."""
    upkeep.push("live")
    old = f"pay/orders/run/extract/-1/{unique_of(long_ago(days=2))}"
    upkeep.store().put(old, [b"x"])
    os.utime(upkeep.folder / "store" / old, (time.time() - 180_000,) * 2)
    dry = command(upkeep, monkeypatch, ["gc"])
    assert (dry.exit_code, len(upkeep.objects())) == (1, 2)
    assert "1 payloads without a row" in dry.stdout
    assert old in dry.stdout
    refused = command(upkeep, monkeypatch, ["gc", "--older-than", "1h"])
    assert refused.exit_code == 2
    done = command(upkeep, monkeypatch, ["gc", "--apply", "--json"])
    record = json.loads(done.stdout)
    assert (done.exit_code, record["deleted"], record["young"]) == (0, 1, 1)
    assert len(upkeep.objects()) == 1


def test_stores_of_this_type_are_enough() -> None:
    """The double that these tests use is a store like any other."""
    double: Store = MemoryStore()
    assert list(double.list()) == []

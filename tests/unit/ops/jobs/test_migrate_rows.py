"""What is there already, sealed in place, and back."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import AuditError, StoreError
from secure_xcom.core.operator_errors import MaintenanceError
from secure_xcom.core.reference import is_reference
from secure_xcom.core.store_errors import StoreFull, StoreUnavailable
from secure_xcom.keys import key_service
from secure_xcom.ops.jobs.migrate_report import MigrateReport
from secure_xcom.ops.jobs.migrate_rows import seal_existing, unseal_all
from secure_xcom.ops.jobs.opener import Opener
from secure_xcom.ops.jobs.stock_objects import NoObjects, OldObjects, StockObjects
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import store
from tests.support.airflow_here import airflow_here
from tests.support.doubles import MemoryStore
from tests.support.each_step import Wrap, every_step
from tests.support.upkeep_world import Upkeep, settle
from tests.support.world import coordinate

__all__ = ["airflow_here"]
VALUES: list[Any] = [
    {"password": "canary", "n": [1, 2.5, None]},
    "text",
    5,
    True,
    None,
    [],
    "x" * 300_000,
    {"__classname__": "datetime.datetime", "__version__": 2, "__data__": {"timestamp": 1.0, "tz": "UTC"}},
]


@pytest.fixture(params=Schema)
def upkeep(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Upkeep]:
    """A deployment, on each schema of Airflow's tables."""
    made = Upkeep(tmp_path / "one", schema=request.param)
    yield made
    made.close()


def seal(upkeep: Upkeep, *, apply: bool = True, old: OldObjects | None = None, **wraps: Any) -> MigrateReport:
    """Seal what is there."""
    wrap: Wrap = wraps.get("wrap", lambda target: target)
    stores = wraps.get("stores", store)
    opener = Opener(lambda value: value, services=key_service, stores=stores, max_bytes=1 << 30)
    database = upkeep.table.database()
    pipeline = upkeep.pipeline()
    try:
        return seal_existing(
            upkeep.policy,
            wrap(database),
            wrap(pipeline),
            wrap(opener),
            upkeep.state,
            wrap(old or NoObjects()),
            apply=apply,
            operator="me",
        )
    finally:
        database.close()


def unseal(upkeep: Upkeep, *, apply: bool = True, **wraps: Any) -> MigrateReport:
    """The way back."""
    wrap: Wrap = wraps.get("wrap", lambda target: target)
    opener = Opener(
        lambda value: value, services=key_service, stores=wraps.get("stores", store), max_bytes=1 << 30
    )
    database = upkeep.table.database()
    try:
        return unseal_all(
            upkeep.policy,
            wrap(database),
            AccessLog([upkeep.sink], version="test"),
            wrap(opener),
            upkeep.state,
            apply=apply,
            operator="me",
            reason="we leave",
        )
    finally:
        database.close()


def fill(upkeep: Upkeep) -> list[tuple[Coordinate, Any]]:
    """Rows of every kind of plain value."""
    rows = [(coordinate(key=f"k{n}"), value) for n, value in enumerate(VALUES)]
    upkeep.table.put_many(rows)
    return rows


def test_there_and_back(upkeep: Upkeep) -> None:
    """Every kind of value is sealed, opens as what it was, and comes back as the same bytes of JSON."""
    rows = fill(upkeep)
    sealed_before = upkeep.push("sealed already")
    dry = seal(upkeep, apply=False)
    assert (dry.due, dry.converted, len(upkeep.objects())) == (len(rows), 0, 1)
    report = seal(upkeep)
    assert (report.due, report.converted, report.failed, report.found) == (len(rows), len(rows), 0, False)
    assert all(is_reference(value) for value in upkeep.table.values())
    assert [upkeep.pull(at) for at, _ in rows] == VALUES
    assert "canary" not in json.dumps(upkeep.table.values())
    assert seal(upkeep).due == 0
    back = unseal(upkeep)
    assert (back.converted, back.failed) == (len(rows) + 1, 0)
    assert [upkeep.table.value(at) for at, _ in rows] == VALUES
    assert upkeep.table.value(sealed_before) == "sealed already"
    assert upkeep.objects() == []


def test_an_opened_value_has_its_operator_and_reason_in_the_log(upkeep: Upkeep) -> None:
    """The way back is in the access log before anything is written, with its key; without the log nothing is."""
    upkeep.push("x")
    upkeep.sink.full = True
    with pytest.raises(AuditError):
        unseal(upkeep)
    assert len(upkeep.objects()) == 1
    upkeep.sink.full = False
    unseal(upkeep)
    record = next(record for record in reversed(upkeep.sink.records) if record["action"] == "open")
    assert (record["operator"], record["reason"], record["outcome"]) == ("me", "we leave", "ok")
    assert (record["opened_by"], record["codec"]) == (upkeep.key_uri, "json")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_objects_of_the_stock_backend(upkeep: Upkeep, airflow_here: None, suffix: str) -> None:
    """An object below the base path is sealed and then deleted; a text that names another place is a text."""
    base = upkeep.folder / "stock"
    inside, outside = base.joinpath(*coordinate().of_task, f"a{suffix}"), upkeep.folder / "elsewhere"
    inside.parent.mkdir(parents=True)
    for path in (inside, outside):
        data = json.dumps({"secret": "canary"}).encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    at, other = coordinate(key="object"), coordinate(key="text")
    upkeep.table.put(at, f"file://{inside}")
    upkeep.table.put(other, f"file://{base}/../elsewhere")
    report = seal(upkeep, old=StockObjects(f"file://{base}"))
    assert (report.converted, report.objects) == (2, 1)
    assert upkeep.pull(at) == {"secret": "canary"}
    assert upkeep.pull(other) == f"file://{base}/../elsewhere"
    assert (inside.exists(), outside.exists()) == (False, True)


def test_an_object_that_is_gone_leaves_its_row(upkeep: Upkeep, airflow_here: None) -> None:
    """A row whose object cannot be read is named and stays as it is."""
    at = coordinate()
    gone = f"file://{upkeep.folder}/stock/{'/'.join(at.of_task)}/gone"
    upkeep.table.put(at, gone)
    report = seal(upkeep, old=StockObjects(f"file://{upkeep.folder}/stock"))
    assert (report.failed, report.converted) == (1, 0)
    assert upkeep.table.value(at) == gone


def test_an_object_of_another_task_is_not_followed(upkeep: Upkeep, airflow_here: None) -> None:
    """A row whose text names another task's object gets nothing of it, and the object stays."""
    other = replace(coordinate(), dag_id="payroll")
    inside = (upkeep.folder / "stock").joinpath(*other.of_task, "a")
    inside.parent.mkdir(parents=True)
    inside.write_text('"canary"')
    upkeep.table.put(coordinate(), f"file://{inside}")
    report = seal(upkeep, old=StockObjects(f"file://{upkeep.folder}/stock"))
    assert (report.failed, report.converted) == (1, 0)
    assert "another task" in report.failures[0]
    assert (upkeep.table.value(coordinate()), inside.exists()) == (f"file://{inside}", True)


def test_what_does_not_come_back_from_the_store_changes_no_row(upkeep: Upkeep) -> None:
    """A payload that is not what was put is noticed before the row is changed, and the old value stays."""
    upkeep.table.put(coordinate(), "old")

    class Loses(MemoryStore):
        def get_many(self, paths: Sequence[str], sizes: Any = None) -> Iterator[bytes]:
            return iter((b"x" * 200,))

    report = seal(upkeep, stores=Loses)
    assert (report.failed, report.converted) == (1, 0)
    assert upkeep.table.value(coordinate()) == "old"


def test_a_task_that_writes_the_row_meanwhile_wins(upkeep: Upkeep) -> None:
    """A row that changed while it was sealed keeps the task's value, and the payload that was put for it goes."""
    at = coordinate()
    upkeep.table.put(at, "old")

    class Pushes(MemoryStore):
        def get_many(self, paths: Sequence[str], sizes: Any = None) -> Iterator[bytes | StoreError]:
            upkeep.push("new", at)
            return store(upkeep.store_uri).get_many(paths, sizes)

        def delete_many(self, paths: Any) -> Any:
            return store(upkeep.store_uri).delete_many(paths)

    report = seal(upkeep, stores=Pushes)
    assert (report.changed, report.converted) == (1, 0)
    assert upkeep.pull(at) == "new"
    assert len(upkeep.objects()) == 1


def test_a_store_that_is_down_ends_it(upkeep: Upkeep) -> None:
    """What concerns every row ends the job with its error, with all values where they were."""
    rows = fill(upkeep)

    class Down(MemoryStore):
        def get_many(self, paths: Sequence[str], sizes: Any = None) -> Iterator[bytes]:
            raise StoreUnavailable("down", where=self.uri)

        def delete_many(self, paths: Any) -> Any:
            return [StoreFull("down") for _ in paths]

    with pytest.raises(StoreUnavailable):
        seal(upkeep, stores=Down)
    assert [upkeep.table.value(at) for at, _ in rows] == VALUES
    assert seal(upkeep).converted == len(rows)


def test_what_nobody_may_read_stays_sealed(upkeep: Upkeep) -> None:
    """Expired and exclusive XComs are not unsealed."""
    upkeep.write_policy("    exclusive: [once]\n")
    upkeep.push("x", coordinate(key="once"))
    at = upkeep.push("y")
    value = upkeep.table.value(at)
    value["head"]["expires"] = "2020-01-01T00:00:00Z"
    upkeep.table.put(at, value)
    report = unseal(upkeep)
    assert (report.skipped, report.converted) == (2, 0)


class Files:
    """Objects of a stock backend, as plain files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self, value: object) -> bool:
        return isinstance(value, str) and value.startswith(str(self.folder))

    def read(self, path: str, of: Coordinate) -> Any:
        try:
            return json.loads(Path(path).read_text())
        except OSError:
            raise MaintenanceError("gone", where=path) from None

    def delete(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)


def test_killed_at_any_step_sealing_finishes_when_run_again(tmp_path: Path) -> None:
    """After SIGKILL at each step in turn, a second run has every value sealed and no old object left."""

    def begin(folder: Path) -> Upkeep:
        made = Upkeep(folder)
        (made.folder / "stock").mkdir()
        for n in range(2):
            path = made.folder / "stock" / f"o{n}"
            path.write_text(json.dumps({"object": n}))
            made.table.put(coordinate(key=f"o{n}"), str(path))
            made.table.put(coordinate(key=f"p{n}"), {"plain": n})
        made.close()
        return made

    def job(world: Upkeep, wrap: Wrap) -> None:
        seal(world, old=Files(world.folder / "stock"), wrap=wrap)

    def end(world: Upkeep) -> None:
        for n in range(2):
            assert world.pull(coordinate(key=f"o{n}")) == {"object": n}
            assert world.pull(coordinate(key=f"p{n}")) == {"plain": n}
        assert list((world.folder / "stock").iterdir()) == []
        world.close()

    assert every_step(tmp_path, begin, job, end) > 20


def test_killed_at_any_step_unsealing_finishes_when_run_again(tmp_path: Path) -> None:
    """After SIGKILL at each step in turn, a second run has every value in plaintext, and gc has the rest."""
    from datetime import timedelta

    from secure_xcom.ops.jobs.gc import collect

    def begin(folder: Path) -> Upkeep:
        made = Upkeep(folder)
        made.live = [made.push(n) for n in range(2)]
        made.close()
        return made

    def job(world: Upkeep, wrap: Wrap) -> None:
        unseal(world, wrap=wrap)

    def end(world: Upkeep) -> None:
        assert [world.table.value(at) for at in world.live] == [0, 1]
        settle()
        database = world.table.database()
        collect(world.policy, database, world.state, delete=True, window=timedelta(0), max_share=1.0)
        database.close()
        assert world.objects() == []
        world.close()

    assert every_step(tmp_path, begin, job, end) > 8


def test_the_commands(upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are dry by default; the way back asks for a reason; what is not touched is said."""
    fill(upkeep)
    config = upkeep.folder / "airflow.cfg"
    config.write_text(
        f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\naudit_sinks = file://{upkeep.folder}/log.jsonl\n"
    )
    monkeypatch.setenv("SECURE_XCOM_DB", upkeep.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(upkeep.folder / "home"))

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, [*words, "--config", str(config)])

    dry = run("migrate")
    assert (dry.exit_code, upkeep.objects()) == (1, [])
    assert "rendered template fields" in dry.stdout
    done = run("migrate", "--apply", "--json")
    assert (done.exit_code, json.loads(done.stdout)["converted"]) == (0, len(VALUES))
    assert run("migrate-back").exit_code == 2
    assert run("migrate-back", "--reason", " ").exit_code == 2
    assert run("migrate-back", "--reason", "we leave").exit_code == 1
    back = run("migrate-back", "--reason", "we leave", "--apply", "--json")
    assert (back.exit_code, json.loads(back.stdout)["converted"]) == (0, len(VALUES))
    assert upkeep.table.value(coordinate(key="k0")) == VALUES[0]

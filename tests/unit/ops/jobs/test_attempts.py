"""The jobs on Airflow 3.4's tables: archived attempts, iterations of loops, and rows from before the upgrade."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from secure_xcom import exclusive
from secure_xcom.claims.claimant import Claimant
from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry
from secure_xcom.core.errors import CoordinateMismatch
from secure_xcom.core.pipeline.push_and_pull import Push, Row
from secure_xcom.core.reference import parse
from secure_xcom.ops.jobs.doctor_rows import ExaminedRows, examine_rows
from secure_xcom.ops.jobs.expire import ExpireReport, expire
from secure_xcom.ops.jobs.gc import collect
from secure_xcom.ops.jobs.gc_report import GcReport
from secure_xcom.ops.jobs.shred import ShredReport, shred_all
from secure_xcom.ops.keyring import rotate_keyring
from secure_xcom.sinks.access_log import AccessLog
from tests.support.upkeep_world import ZERO, Upkeep, settle
from tests.support.world import coordinate, own_task

LINK = coordinate(key="_link_Dashboard")
READER = Claimant("orders", coordinate().run_id, "reader", -1)


@pytest.fixture
def upkeep(tmp_path: Path) -> Iterator[Upkeep]:
    """A deployment on Airflow 3.4, with a DAG run."""
    made = Upkeep(tmp_path / "one", schema=Schema.ATTEMPTS)
    made.table.set_run(coordinate(), "running")
    yield made
    made.close()


def run_expire(upkeep: Upkeep) -> ExpireReport:
    """Expire, without a grace."""
    database, log = upkeep.table.database(), AccessLog([upkeep.sink], version="test")
    return expire(upkeep.policy, database, log, upkeep.state, delete=True, operator="me", grace=ZERO)


def run_gc(upkeep: Upkeep) -> GcReport:
    """Delete what no row names, however new it is."""
    settle()
    return collect(upkeep.policy, upkeep.table.database(), upkeep.state, delete=True, window=ZERO, max_share=1.0)


def run_shred(upkeep: Upkeep, *, delete: bool = True) -> ShredReport:
    """Shred what was read."""
    database, log = upkeep.table.database(), AccessLog([upkeep.sink], version="test")
    return shred_all(upkeep.policy, database, log, delete=delete, operator="me")


def examined(upkeep: Upkeep) -> ExaminedRows:
    """Doctor's look at the rows."""
    return examine_rows(upkeep.policy, upkeep.table.database())


def pushed(upkeep: Upkeep, at: Coordinate, value: Any) -> Any:
    """Push without a row, and return the reference."""
    return upkeep.pipeline().push([Push(at, value)], producer=own_task(at))[0]


def before_upgrade(upkeep: Upkeep, at: Coordinate, value: Any) -> Any:
    """Push, and write the row as Airflow 3.3 had it."""
    reference = pushed(upkeep, at, value)
    upkeep.table.put_before_upgrade(at, reference)
    return reference


def read_exclusively(upkeep: Upkeep, at: Coordinate) -> None:
    """Pull as a task that claims it, and then succeeds."""
    asked = Asked(at.dag_id, at.task_id, at.key, at.run_id, at.map_index)
    consumer = TaskTry(at.dag_id, at.run_id, READER.task_id, -1, 1)
    upkeep.pipeline().pull([Row(upkeep.table.value(at), asked)], consumer=consumer, claimant=READER)
    upkeep.table.set_state(coordinate(task_id=READER.task_id), "success")


def test_gc_keeps_what_any_row_names(upkeep: Upkeep) -> None:
    """Payloads of archived attempts, of iterations and of hidden rows are referenced, and a lost one goes."""
    upkeep.push("first try")
    upkeep.table.retry(coordinate())
    at = upkeep.push("second try")
    before_upgrade(upkeep, at, "hidden")
    region = uuid.uuid4()
    for index in range(3):
        looped = coordinate(task_id="looped")
        upkeep.table.iterate(looped, region, index, pushed(upkeep, looped, index))
    upkeep.push("lost", row=False)
    report = run_gc(upkeep)
    assert (report.payloads, report.deleted, report.missing, report.unreadable) == (7, 1, 0, 0)
    assert len(upkeep.objects()) == 6


def test_archived_attempts_go_once_their_run_has_ended(upkeep: Upkeep) -> None:
    """While the run goes on nothing is touched; afterwards the live attempt and Airflow's own links stay."""
    upkeep.push("first try")
    first = upkeep.push("other key")
    upkeep.table.put(LINK, "https://example.com/try/1")
    upkeep.table.retry(first)
    live = upkeep.push("second try", coordinate(key="live"))
    assert run_expire(upkeep).expired == 0
    assert examined(upkeep).archived.xcoms == 2
    upkeep.table.set_run(live, "success", datetime.now(timezone.utc))
    report = run_expire(upkeep)
    assert (report.expired, report.archived, report.deleted, report.failed) == (2, 2, 2, 0)
    assert upkeep.pull(live) == "second try"
    assert len(upkeep.objects()) == 1
    assert "https://example.com/try/1" in upkeep.table.values()
    assert (examined(upkeep).archived.xcoms, run_gc(upkeep).orphans) == (0, 0)


def test_a_compartment_keeps_archived_attempts_longer(upkeep: Upkeep) -> None:
    """``archived_retention`` counts from the end of the run; exclusive XComs go without it."""
    upkeep.write_policy("    archived_retention: 2h\n")
    upkeep.push("kept")
    at = upkeep.push(exclusive("secret"))
    upkeep.table.retry(at)
    upkeep.table.set_run(at, "failed", datetime.now(timezone.utc) - timedelta(hours=1))
    assert run_expire(upkeep).deleted == 1
    assert len(upkeep.objects()) == 1
    upkeep.table.set_run(at, "failed", datetime.now(timezone.utc) - timedelta(hours=3))
    assert run_expire(upkeep).deleted == 1
    assert upkeep.objects() == []


def test_a_legal_hold_keeps_archived_attempts(upkeep: Upkeep) -> None:
    """What is held stays, whichever attempt it is of."""
    at = upkeep.push("held")
    upkeep.policy_file.write_text(
        f"{upkeep.policy_file.read_text()}legal_holds:\n  - name: case\n    dags: ['*']\n    runs: ['*']\n"
    )
    upkeep.policy = type(upkeep.policy).load(str(upkeep.policy_file))
    upkeep.table.retry(at)
    upkeep.table.set_run(at, "success")
    report = run_expire(upkeep)
    assert (report.expired, report.held, len(upkeep.objects())) == (0, 1, 1)


def test_doctor_reports_archived_attempts_of_ended_runs(upkeep: Upkeep) -> None:
    """A warning comes where expire has had a day, and the size of what is stored in any case."""
    at = upkeep.push("x" * 1000)
    upkeep.table.retry(at)
    upkeep.table.set_run(at, "success", datetime.now(timezone.utc))
    rows = examined(upkeep)
    assert rows.archived == (1, rows.archived.bytes)
    assert rows.archived.bytes > 0
    assert "archived-row" not in {finding.rule for finding in rows.findings}
    upkeep.table.set_run(at, "success", datetime.now(timezone.utc) - timedelta(days=2))
    assert "archived-row" in {finding.rule for finding in examined(upkeep).findings}
    for name in ("xcom_v1__20260101", "xcom_v2__20260101"):
        upkeep.table.execute(f"CREATE TABLE _airflow_deleted__{name} (value TEXT)")
    upkeep.table.put(coordinate(key="_airflow_loop_decision_reason"), "done")
    upkeep.table.put(LINK, "https://example.com")
    upkeep.table.put(coordinate(key="skipmixin_key"), {"followed": ["group.task-1"]})
    tables = [finding.subject for finding in examined(upkeep).findings if finding.rule == "archive-table"]
    assert len(tables) == 2
    assert {finding.rule for finding in examined(upkeep).findings} >= {"archive-table", "link-row"}
    assert "plaintext-row" not in {finding.rule for finding in examined(upkeep).findings}
    # What Airflow does not write itself: such a key of an earlier release, and other data under its key.
    for at, value, put in (
        (coordinate(key="_airflow_loop_password"), "hunter22", upkeep.table.put_before_upgrade),
        (coordinate(task_id="other", key="skipmixin_key"), {"followed": ["hunter 22"]}, upkeep.table.put),
        (coordinate(task_id="another", key="skipmixin_key"), {"password": ["a"]}, upkeep.table.put),
    ):
        put(at, value)
    [plaintext] = [finding for finding in examined(upkeep).findings if finding.rule == "plaintext-row"]
    assert plaintext.count == 3


def test_expiry_removes_the_hidden_copy(upkeep: Upkeep) -> None:
    """What hid an older row goes with it, or the older one would be pulled again."""
    upkeep.write_policy("    retention: 1h\n")
    at = coordinate(key="both")
    before_upgrade(upkeep, at, "hidden")
    shown = pushed(upkeep, at, "shown")
    shown["head"]["expires"] = "2020-01-01T00:00:00Z"
    upkeep.table.put(at, shown)
    assert run_expire(upkeep).deleted == 1
    assert upkeep.table.values() == []
    assert run_gc(upkeep).deleted == 1


@pytest.mark.parametrize("shredded_by", ["maintenance", "the task"])
def test_shredding_destroys_every_copy(upkeep: Upkeep, shredded_by: str) -> None:
    """An exclusive XCom of 3.3 that is read on 3.4 keeps its data key in neither of the tables."""
    at = coordinate(key="secret")
    reference = before_upgrade(upkeep, at, exclusive("opensesame"))
    read_exclusively(upkeep, at)
    if shredded_by == "the task":
        # Its end writes into the table of the live attempt and deletes the payload; the claim is removed later.
        upkeep.table.put(at, parse(reference).without_keys("2026-01-01T00:00:00Z").dump())
        upkeep.store().delete_many(upkeep.objects())
    else:
        upkeep.table.put(at, reference)
    dry = run_shred(upkeep, delete=False)
    assert (dry.due, dry.found) == (1, True)
    report = run_shred(upkeep)
    assert (report.done, report.left, report.tampered) == (1, 0, 0)
    assert [value["keys"] for value in upkeep.table.values()] == [[], []]
    assert [path for path in upkeep.objects() if "~claims" not in path] == []
    assert run_shred(upkeep).due == 0


def test_a_second_push_leaves_no_key_in_a_hidden_row(upkeep: Upkeep) -> None:
    """On 3.3 it overwrote the row with the first one's key; on 3.4 it hides it, and maintenance shreds it."""
    at = coordinate(key="secret")
    before_upgrade(upkeep, at, exclusive("first"))
    upkeep.table.put(at, pushed(upkeep, at, exclusive("second")))
    assert run_shred(upkeep, delete=False).due == 1
    assert run_shred(upkeep).done == 1
    assert sorted(len(value["keys"]) for value in upkeep.table.values()) == [0, 1]
    assert len(upkeep.objects()) == 1
    assert run_shred(upkeep).due == 0


def test_what_airflow_keeps_beside_a_value_stays(upkeep: Upkeep) -> None:
    """Rewrap and shredding change the value alone: a mapped task still learns how long it is."""
    at = coordinate(key="return_value")
    upkeep.push(exclusive([1, 2, 3]), at)
    query = "SELECT timestamp, mapped_length, dag_result FROM xcom_v2"
    upkeep.table.execute("UPDATE xcom_v2 SET mapped_length = 3, dag_result = true")

    def beside() -> Any:
        with upkeep.table.engine.connect() as connection:
            return connection.execute(sqlalchemy.text(query)).all()

    kept = beside()
    rotate_keyring(upkeep.keyring)
    assert upkeep.rewrap().rewrapped == 1
    read_exclusively(upkeep, at)
    assert run_shred(upkeep).done == 1
    assert beside() == kept
    assert upkeep.table.value(at)["shredded"]


def test_rewrap_reaches_every_row(upkeep: Upkeep) -> None:
    """Archived attempts and hidden rows get the new version too, so that the old one can be taken away."""
    upkeep.push("first")
    at = upkeep.push("archived")
    upkeep.table.retry(at)
    upkeep.push("live", at)
    before_upgrade(upkeep, at, "hidden")
    rotate_keyring(upkeep.keyring)
    report = upkeep.rewrap()
    assert (report.references, report.rewrapped, report.failed) == (4, 4, 0)
    assert set(report.oldest.values()) == {2}


def test_a_coordinate_with_several_iterations_is_not_guessed(upkeep: Upkeep) -> None:
    """`open` and `inspect` show what Airflow shows of a coordinate, and refuse to choose an iteration."""
    at, looped = coordinate(key="both"), coordinate(task_id="looped")
    upkeep.table.put_before_upgrade(at, "hidden")
    upkeep.table.put(at, "archived")
    upkeep.table.retry(at)
    upkeep.table.put(at, "shown")
    database = upkeep.table.database()
    row = database.at(at)
    assert row is not None
    assert row.value == "shown"
    region = uuid.uuid4()
    upkeep.table.iterate(looped, region, 0, "only")
    only = database.at(looped)
    assert only is not None
    assert only.value == "only"
    upkeep.table.iterate(looped, region, 1, "another")
    with pytest.raises(CoordinateMismatch, match="2 iterations") as refused:
        database.at(looped)
    attempts = {row.value: row.attempt for row in database.rows()}
    assert {attempt in refused.value.remedy for attempt in attempts.values() if attempt} == {True, False}
    for value in ("only", "another"):
        row = database.at(looped, attempts[value])
        assert row is not None
        assert row.value == value
    archived = database.at(at, attempts["archived"])
    assert archived is not None
    assert archived.value == "archived"
    assert database.at(looped, str(uuid.uuid4())) is None

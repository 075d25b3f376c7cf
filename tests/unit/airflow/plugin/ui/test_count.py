"""The numbers of compartments: counted by maintenance, kept in a table, shown by the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from secure_xcom import numbers
from secure_xcom.cli import app
from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.numbers.migrate import migrate
from secure_xcom.ops.audit_trail.read import source
from secure_xcom.ops.jobs.count import CountReport, count
from tests.support.access_logs import event
from tests.support.airflow_here import airflow_here
from tests.support.upkeep_world import Upkeep
from tests.support.world import coordinate

__all__ = ["airflow_here"]
pytestmark = pytest.mark.usefixtures("airflow_here")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Upkeep]:
    """A deployment of one compartment, which does not take every DAG."""
    made = Upkeep(tmp_path / "world")
    made.policy_file.write_text(made.policy_file.read_text().replace("['*']", "[orders]"))
    made.policy = AccessPolicy.load(str(made.policy_file))
    yield made
    made.close()


def migrated(world: Upkeep) -> None:
    """Make the table of numbers."""
    with world.table.database().transaction("making") as connection:
        migrate(connection)


def counted(world: Upkeep, *sources: Any) -> CountReport:
    """Count."""
    return count(world.policy, world.table.database(), sources)


def read(world: Upkeep) -> dict[str, numbers.Numbers]:
    """What stands in the table."""
    with world.table.engine.connect() as connection:
        return {one.compartment: one for one in numbers.read(connection)}


def fill(world: Upkeep) -> None:
    """Write sealed XComs, an expired one, one that cannot be read, two in plaintext, a link, and a stranger."""
    places = [world.push(number, coordinate(key=f"k{number}")) for number in range(3)]
    expired = json.loads(json.dumps(world.table.value(places[0])))
    expired["head"].update(key="expired", expires="2020-01-01T00:00:00Z")
    world.table.put(coordinate(key="expired"), expired)
    world.table.put(coordinate(key="broken"), {"secure_xcom": 1})
    world.table.put(coordinate(key="plain"), "plain")
    world.table.put(coordinate(key="null"), None)
    world.table.put(coordinate(key="_link_X"), "https://example.com")
    world.table.put(coordinate(dag_id="elsewhere", key="plain"), "plain")


def test_without_its_table_nothing_is_counted(world: Upkeep) -> None:
    """Before the migration the job says that there is no table, and makes none."""
    fill(world)
    assert counted(world) == CountReport(made=False)
    assert "secure_xcom_numbers" not in sa.inspect(world.table.engine).get_table_names()


def test_every_row_is_counted_once(world: Upkeep) -> None:
    """Every kind of row is counted where its DAG belongs; links of operators are no plaintext."""
    fill(world)
    migrated(world)
    report = counted(world)
    assert (report.rows, report.xcoms, report.plaintext, report.unreadable) == (9, 4, 3, 1)
    found = read(world)
    pay = found["pay"]
    assert (pay.xcoms, pay.plaintext, pay.expired, pay.unreadable) == (4, 2, 1, 1)
    assert pay.bytes > 4 * 72
    assert pay.versions == {world.key_uri: (1, 1)}
    assert pay.first_pushed is not None
    assert pay.first_pushed <= datetime.now(timezone.utc)
    assert found[""].plaintext == 1
    # Another count takes the place of the one before.
    world.table.delete(coordinate(key="plain"))
    counted(world)
    assert read(world)["pay"].plaintext == 1
    assert len(read(world)) == 2


def test_a_row_that_airflow_does_not_show_is_not_counted(tmp_path: Path) -> None:
    """On Airflow 3.4 a row of before the upgrade and the one that hides it are one XCom."""
    world = Upkeep(tmp_path / "upgraded", schema=Schema.ATTEMPTS)
    migrated(world)
    pushed = world.push("shown")
    world.table.put_before_upgrade(pushed, world.table.value(pushed))
    world.table.put_before_upgrade(coordinate(task_id="old"), "plain")
    report = counted(world)
    assert (report.rows, report.xcoms, report.plaintext) == (2, 1, 1)
    world.close()


def test_the_last_pull_is_the_access_logs(world: Upkeep, tmp_path: Path) -> None:
    """The newest pull of a compartment is kept, also when its part of the log is gone at the next count."""
    migrated(world)
    log = tmp_path / "log.jsonl"
    times = [datetime(2026, 11, day, tzinfo=timezone.utc) for day in (3, 7, 5)]
    events = [event(time, compartment="pay") for time in times]
    events.append(event(datetime(2026, 11, 9, tzinfo=timezone.utc), "pull", "refused", compartment="pay"))
    log.write_text("".join(json.dumps(one, separators=(",", ":")) + "\n" for one in events) + "{half")
    counted(world, lambda: source(log.as_uri()))
    assert read(world)["pay"].last_pull == times[1]
    log.write_text("")
    counted(world, lambda: source(log.as_uri()))
    assert read(world)["pay"].last_pull == times[1]


def test_the_page_shows_the_numbers(world: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compartments page has the numbers with their time, and says how to get them where there are none."""
    from secure_xcom.airflow.plugin.ui.compartment_page import compartments
    from secure_xcom.airflow.plugin.ui.counted import counted as as_counted
    from secure_xcom.airflow.plugin.ui.counted import forget
    from secure_xcom.airflow.plugin.ui.known_deployment import Deployment
    from secure_xcom.core.config import Settings

    known = Deployment(Settings(), world.policy, "file", "policy.yaml", raw=world.policy_file.read_bytes())

    def page() -> dict[str, Any]:
        forget()
        with Session(world.table.engine) as session:
            return compartments(known, as_counted(session), start=0)

    fill(world)
    assert "ui migrate" in page()["counted_text"]
    migrated(world)
    assert "ui count" in page()["counted_text"]
    counted(world)
    shown = page()
    assert shown["counted_text"] == ""
    assert shown["counted"] is not None
    assert shown["compartments"][0]["numbers"]["plaintext"] == 2
    assert shown["compartments"][0]["numbers"]["oldest_version"] == 1
    assert shown["outside"] == {"xcoms": 0, "plaintext": 1, "unreadable": 0}
    json.dumps(shown, allow_nan=False)


def test_the_commands(world: Upkeep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`ui migrate` makes the table once, `ui count` fills it; before, it ends with 2 and says what to do."""
    monkeypatch.setenv("SECURE_XCOM_DB", world.table.url)
    config = tmp_path / "airflow.cfg"
    config.write_text(
        f"[secure_xcom]\naccess_policy = {world.policy_file}\naudit_sinks = file://{tmp_path}/log.jsonl\n"
    )
    fill(world)
    runner = CliRunner()
    before = runner.invoke(app, ["ui", "count", "--config", str(config)])
    assert (before.exit_code, "ui migrate" in before.output) == (2, True)
    assert "migrated to 0001" in runner.invoke(app, ["ui", "migrate"]).output
    assert "already at 0001" in runner.invoke(app, ["ui", "migrate"]).output
    done = runner.invoke(app, ["ui", "count", "--config", str(config), "--json"])
    assert (done.exit_code, json.loads(done.output)["xcoms"]) == (0, 4)


def test_the_table_goes_again(world: Upkeep) -> None:
    """The migration has a way back."""
    migrated(world)
    with world.table.database().transaction("making") as connection:
        assert migrate(connection, to="base") == ("0001", None)
    assert "secure_xcom_numbers" not in sa.inspect(world.table.engine).get_table_names()

"""A database of Airflow 3.3 that `airflow db migrate` of Airflow 3.4 has upgraded: every job loses nothing.

The Airflows are those of two environments: the interpreter that runs these tests has one of them, and
`.venv-airflow34` beside the checkout, or SECURE_XCOM_TEST_AIRFLOW34_PYTHON, has Airflow 3.4.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from secure_xcom import exclusive
from secure_xcom.claims.claimant import Claimant
from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.coordinate import Asked, TaskTry
from secure_xcom.core.pipeline.push_and_pull import Row
from secure_xcom.keys import key_service
from secure_xcom.ops.jobs.doctor_rows import examine_rows
from secure_xcom.ops.jobs.expire import expire
from secure_xcom.ops.jobs.gc import collect
from secure_xcom.ops.jobs.migrate_rows import seal_existing, unseal_all
from secure_xcom.ops.jobs.opener import Opener
from secure_xcom.ops.jobs.shred import shred_all
from secure_xcom.ops.jobs.stock_objects import NoObjects
from secure_xcom.ops.keyring import rotate_keyring
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import store
from tests.support.airflow34 import installed_series, python_of_airflow34
from tests.support.airflow_schema import migrate, migrated_database
from tests.support.claim_contract import a_day_later
from tests.support.servers.postgres_server import postgres_server
from tests.support.upkeep_world import ZERO, Upkeep, settle
from tests.support.world import coordinate
from tests.support.xcom_table import XComTable

READER = Claimant("orders", coordinate().run_id, "reader", -1)
SEALED, SECRET, PLAIN, CLEARED = (coordinate(task_id=name) for name in ("sealed", "secret", "plain", "cleared"))


@pytest.fixture(params=["sqlite", "postgresql"])
def upkeep(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Upkeep]:
    """A deployment with rows of Airflow 3.3, which was upgraded since."""
    if installed_series() != (3, 3):
        pytest.skip("the upgrade begins with Airflow 3.3")
    newer = python_of_airflow34()
    if request.param == "sqlite":
        shutil.copy(migrated_database(), tmp_path / "airflow.db")
        yield from _upgraded(tmp_path, f"sqlite:///{tmp_path}/airflow.db", newer)
        return
    with postgres_server() as server:
        url = server.new_database()
        migrate(url, tmp_path / "home33", sys.executable)
        yield from _upgraded(tmp_path, url, newer)


def _upgraded(folder: Path, url: str, newer: str) -> Iterator[Upkeep]:
    made = Upkeep(folder / "one", url)
    made.table.set_run(SEALED, "running")
    for at in (SEALED, SECRET, PLAIN, CLEARED):
        made.table.set_state(at, "success")
    made.push("sealed", SEALED)
    made.push(exclusive("opensesame"), SECRET)
    made.push("cleared", CLEARED)
    made.table.put(PLAIN, {"plain": True})
    made.table.close()
    migrate(url, folder / "home34", newer)
    made.table, made.schema = XComTable(url, Schema.ATTEMPTS), Schema.ATTEMPTS
    yield made
    made.close()


def test_every_job_knows_both_tables(upkeep: Upkeep) -> None:
    """What 3.3 wrote is kept, sealed, rewrapped, shredded, purged and returned, wherever its copies are."""
    log = AccessLog([upkeep.sink], version="test")
    database = upkeep.table.database()
    opener = Opener(lambda value: value, services=key_service, stores=store, max_bytes=1 << 30)

    def gc() -> tuple[int, int, int]:
        settle()
        report = collect(upkeep.policy, database, upkeep.state, delete=True, window=ZERO, max_share=1.0)
        return report.rows, report.deleted, report.missing

    assert (database.schema, gc()) == (Schema.ATTEMPTS, (4, 0, 0))
    assert {finding.rule for finding in examine_rows(upkeep.policy, database).findings} == {"plaintext-row"}
    sealing = seal_existing(
        upkeep.policy, database, upkeep.pipeline(), opener, upkeep.state, NoObjects(), apply=True, operator="me"
    )
    assert (sealing.due, sealing.converted) == (1, 1)
    rotate_keyring(upkeep.keyring)
    rewrapped = upkeep.rewrap()
    assert (rewrapped.rewrapped, rewrapped.failed) == (4, 0)

    # A task of 3.4 clears what one of 3.3 pushed, and another reads what was exclusive.
    upkeep.table.retry(CLEARED)
    upkeep.push("again", CLEARED)
    asked = Asked(SECRET.dag_id, SECRET.task_id, SECRET.key, SECRET.run_id, SECRET.map_index)
    row = upkeep.table.value(SECRET)
    consumer = TaskTry(READER.dag_id, READER.run_id, READER.task_id, -1, 1)
    assert upkeep.pipeline().pull([Row(row, asked)], consumer=consumer, claimant=READER) == ["opensesame"]
    upkeep.table.put(SECRET, row)
    reader = coordinate(task_id=READER.task_id)
    upkeep.table.put(reader, None)
    upkeep.table.set_state(reader, "success")
    shredded = shred_all(upkeep.policy, database, log, delete=True, operator="me")
    assert (shredded.done, shredded.left, shredded.tampered) == (1, 0, 0)
    copies = [upkeep.table.value(SECRET), upkeep.table.value_before_upgrade(SECRET)]
    assert [copy["keys"] for copy in copies] == [[], []]

    def purge() -> int:
        report = expire(upkeep.policy, database, log, upkeep.state, delete=True, operator="me", grace=ZERO)
        assert report.failed == 0
        return report.deleted

    assert purge() == 0
    upkeep.table.set_run_state(SEALED, "success", datetime.now(timezone.utc))
    assert purge() == 1
    assert [upkeep.pull(at) for at in (SEALED, PLAIN, CLEARED)] == ["sealed", {"plain": True}, "again"]
    assert gc()[1:] == (0, 0)
    returned = unseal_all(
        upkeep.policy, database, log, opener, upkeep.state, apply=True, operator="me", reason="return"
    )
    assert returned.converted == 3
    with a_day_later():
        assert shred_all(upkeep.policy, database, log, delete=True, operator="me").outlived == 1
    assert upkeep.objects() == []
    assert upkeep.table.value(PLAIN) == {"plain": True}
    assert json.dumps(upkeep.table.value(SEALED)) == '"sealed"'
    database.close()

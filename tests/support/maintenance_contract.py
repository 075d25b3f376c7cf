"""What maintenance must do on every database server that Airflow runs on: each job on rows that tasks have pushed.

How each job decides is tested on SQLite, in tests/unit/ops/jobs. Here each reads, changes and deletes rows.
"""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import ReferenceExpired
from secure_xcom.keys import key_service
from secure_xcom.ops.jobs.doctor_rows import examine_rows
from secure_xcom.ops.jobs.expire import expire
from secure_xcom.ops.jobs.gc import collect
from secure_xcom.ops.jobs.gc_report import GcReport
from secure_xcom.ops.jobs.migrate_rows import seal_existing, unseal_all
from secure_xcom.ops.jobs.opener import Opener
from secure_xcom.ops.jobs.stock_objects import NoObjects
from secure_xcom.ops.keyring import rotate_keyring
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import store
from tests.support.stopped_clock import stopped
from tests.support.upkeep_world import ZERO, Upkeep, settle
from tests.support.world import coordinate

RETENTION = "    retention: 1h\n"
LARGE = {"rows": ["x" * 1000] * 200}


def _places() -> list[Coordinate]:
    """Tasks of two runs, with odd names, mapped and not."""
    return [
        coordinate(run_id=run, task_id=task, map_index=index, key=key)
        for run in ("one", "zwei ä_%'\"")
        for task in ("a", "A")
        for index in (-1, 0)
        for key in ("return_value", "x\\y")
    ]


def _gc(upkeep: Upkeep) -> GcReport:
    settle()
    database = upkeep.table.database()
    try:
        return collect(upkeep.policy, database, upkeep.state, delete=True, window=ZERO, max_share=1.0)
    finally:
        database.close()


class MaintenanceContract:
    """A subclass brings the fixture ``upkeep``, a deployment on a new database."""

    def test_what_was_pushed_is_pulled(self, upkeep: Upkeep) -> None:
        """References go through the database's JSON as they are, inline and with a payload of their own."""
        for number, at in enumerate(_places()):
            upkeep.push({"number": number, "text": "ä\u2028\U0001f600"}, at)
        large = upkeep.push(LARGE)
        assert [upkeep.pull(at)["number"] for at in _places()] == list(range(len(_places())))
        assert upkeep.pull(large) == LARGE

    def test_gc_deletes_only_what_no_row_names(self, upkeep: Upkeep) -> None:
        """Lost payloads go, those of rows stay."""
        live = [upkeep.push(LARGE, at) for at in _places()]
        for _ in range(3):
            upkeep.push(LARGE, row=False)
        report = _gc(upkeep)
        assert (report.rows, report.deleted, report.missing) == (len(live), 3, 0)
        assert [upkeep.pull(at) for at in live] == [LARGE] * len(live)
        upkeep.table.delete(live[0])
        assert _gc(upkeep).deleted == 1

    def test_rewrap_reaches_every_row(self, upkeep: Upkeep) -> None:
        """After a rotation each row has a wrap of the newest version, and a second run finds nothing to do."""
        for number, at in enumerate(_places()):
            upkeep.push(number, at)
        rotate_keyring(upkeep.keyring)
        report = upkeep.rewrap()
        assert (report.rewrapped, report.failed) == (len(_places()), 0)
        assert report.oldest == {upkeep.key_uri: 2}
        assert [upkeep.pull(at) for at in _places()] == list(range(len(_places())))
        assert upkeep.rewrap().rewrapped == 0

    def test_expired_rows_go_with_their_payloads(self, upkeep: Upkeep) -> None:
        """What was pushed before the retention goes, and what came later stays."""
        upkeep.write_policy(RETENTION)
        old = datetime(2026, 1, 1, tzinfo=timezone.utc)
        with stopped(old):
            gone = [upkeep.push(LARGE, at) for at in _places()]
        kept = upkeep.push(LARGE, coordinate(task_id="later"))
        with pytest.raises(ReferenceExpired):
            upkeep.pull(gone[0])
        database, log = upkeep.table.database(), AccessLog([upkeep.sink], version="test")
        report = expire(upkeep.policy, database, log, upkeep.state, delete=True, operator="me", grace=ZERO)
        assert (report.deleted, report.failed, database.count()) == (len(gone), 0, 1)
        database.close()
        assert upkeep.pull(kept) == LARGE
        assert len(upkeep.objects()) == 1

    def test_doctor_finds_plaintext_and_migrate_seals_it(self, upkeep: Upkeep) -> None:
        """A plain row is found, sealed, pulled, and written back as it was."""
        upkeep.push("sealed")
        upkeep.table.put(coordinate(key="plain"), {"plain": True})
        database, log = upkeep.table.database(), AccessLog([upkeep.sink], version="test")
        opener = Opener(lambda value: value, services=key_service, stores=store, max_bytes=1 << 30)
        found = examine_rows(upkeep.policy, database)
        assert (found.rows, [finding.rule for finding in found.findings]) == (2, ["plaintext-row"])
        sealing = seal_existing(
            upkeep.policy,
            database,
            upkeep.pipeline(),
            opener,
            upkeep.state,
            NoObjects(),
            apply=True,
            operator="me",
        )
        assert (sealing.due, sealing.converted) == (1, 1)
        assert examine_rows(upkeep.policy, database).findings == []
        assert upkeep.pull(coordinate(key="plain")) == {"plain": True}
        returned = unseal_all(
            upkeep.policy, database, log, opener, upkeep.state, apply=True, operator="me", reason="return"
        )
        database.close()
        assert returned.converted == 2
        assert upkeep.table.value(coordinate(key="plain")) == {"plain": True}

"""What the page asks of a database, on a real PostgreSQL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from secure_xcom.core.errors import AuditError
from secure_xcom.core.event import Line
from secure_xcom.core.operator_errors import AccessLogUnreadable
from secure_xcom.sinks.database import DatabaseSink
from secure_xcom.sinks.sink_uri import SinkUri
from tests.support.access_logs import START, event
from tests.support.airflow_here import airflow_here
from tests.support.audit_table import AuditTable
from tests.support.servers.postgres_server import PostgresServer, postgres_server
from tests.support.ui_browsing_contract import BrowsingContract, make_tables

__all__ = ["airflow_here"]
pytestmark = pytest.mark.usefixtures("airflow_here")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server for this file."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def session(postgres: PostgresServer) -> Iterator[Session]:
    """A session on empty tables."""
    engine = make_tables(postgres.new_database())
    with Session(engine) as opened:
        yield opened
    engine.dispose()


class TestPostgres(BrowsingContract):
    """The contract."""


# --- the access log -----------------------------------------------------------------------------------------


@pytest.fixture
def log(postgres: PostgresServer) -> AuditTable:
    """The documented table and index, a worker that may INSERT, and a reader that may SELECT."""
    table = AuditTable(postgres)
    page = (Path(__file__).parents[2] / "docs" / "reference" / "access-log.md").read_text()
    index = re.search(r"CREATE INDEX secure_xcom_events_xcom [^;]+", page)
    assert index is not None
    table.run(index.group())
    lines = []
    for number in range(1200):
        record = event(START + timedelta(seconds=number), chain=f"{number:08x}-0000-7000-8000-000000000000")
        record |= {"sequence": 0, "previous": "0" * 64, "id": f"{number:08x}-0000-7000-8000-00000000000a"}
        lines.append(Line(record, json.dumps(record, sort_keys=True, separators=(",", ":")).encode()))
    DatabaseSink(SinkUri.parse(table.uri)).write(lines)
    return table


def reader(log: AuditTable) -> str:
    """The URL of a user who may SELECT and nothing else, as docs/reference/access-log.md makes one."""
    name = f"reader_{log.worker.username}"
    log.run(
        f"CREATE ROLE {name} LOGIN PASSWORD 'canary-password'", f"GRANT SELECT ON secure_xcom_events TO {name}"
    )
    return (
        f"db+{log.owner.url.set(username=name, password='canary-password').render_as_string(hide_password=False)}"
    )


def test_who_had_it_is_read_by_a_user_who_may_select(log: AuditTable) -> None:
    """All events come page by page, newest first, and the URL of that user writes nothing."""
    from secure_xcom.airflow.plugin.ui import log_table
    from secure_xcom.airflow.plugin.ui.log_events import Search
    from secure_xcom.core.coordinate import Coordinate

    url = reader(log)
    wanted = Search.of(Coordinate("orders", "manual__1", "extract", -1, "return_value"), START)
    found, after = [], None
    while True:
        page = log_table.search(url, wanted, after=after, limit=200)
        found += [str(one["time"]) for one in page.events]
        after = page.next
        if after is None:
            break
    assert len(found) == 1200
    assert found == sorted(found, reverse=True)
    with pytest.raises(AuditError):
        DatabaseSink(SinkUri.parse(url)).write([])


def test_a_user_without_the_right_is_told_without_its_password(log: AuditTable) -> None:
    """The worker's user may not read the log; the error says what to grant, and no password."""
    from secure_xcom.airflow.plugin.ui import log_table
    from secure_xcom.airflow.plugin.ui.log_events import Search
    from secure_xcom.core.coordinate import Coordinate

    wanted = Search.of(Coordinate("orders", "manual__1", "extract", -1, "return_value"), START)
    with pytest.raises(AccessLogUnreadable) as caught:
        log_table.search(log.uri, wanted, after=None, limit=10)
    assert "SELECT" in caught.value.remedy
    assert "canary" not in f"{caught.value} {caught.value!r}"

"""The access log's sinks on real servers: PostgreSQL with a grant to INSERT alone, S3 with one to put alone."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import sqlalchemy

from secure_xcom.core.errors import AuditError
from secure_xcom.core.event import Event
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.sinks.interface import sink
from tests.support.audit_reading import read_chain, read_chains
from tests.support.audit_table import AuditTable
from tests.support.doubles import MemorySink
from tests.support.servers.faulty_proxy import Fault, faulty_proxy
from tests.support.servers.postgres_server import PostgresServer, postgres_server
from tests.support.servers.s3_server import REGION, Identity, S3Server, allow, s3_server
from tests.support.servers.vault_server import free_port
from tests.support.world import coordinate

PULLED = Event("pull", "ok", coordinate=coordinate(run_id="\u017elut\u00fd\n\u2028"), compartment="finance")
PUSHED = Event("push", "ok", coordinate=coordinate())


# --- PostgreSQL ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server for this file."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def table(postgres: PostgresServer) -> AuditTable:
    """A table of the test's own."""
    return AuditTable(postgres)


def test_a_grant_to_insert_is_enough(table: AuditTable) -> None:
    """Events are written with INSERT alone, with their very bytes; the user can read, change and delete none."""
    log = AccessLog.open([table.uri], version="1")
    log.record([PUSHED, PULLED])
    log.close()
    events = read_chain(table.lines())
    assert [event["action"] for event in events] == ["push", "pull", "chain_end"]
    assert events[1]["producer"]["run_id"] == "\u017elut\u00fd\n\u2028"
    worker = sqlalchemy.create_engine(table.worker, poolclass=sqlalchemy.NullPool)
    for statement in (
        "SELECT line FROM secure_xcom_events",
        "DELETE FROM secure_xcom_events",
        "UPDATE secure_xcom_events SET line = ''",
        "TRUNCATE secure_xcom_events",
    ):
        refused = pytest.raises(sqlalchemy.exc.ProgrammingError, match="permission denied")
        with worker.connect() as connection, refused:
            connection.execute(sqlalchemy.text(statement))


def test_a_connection_of_airflow_is_enough(table: AuditTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """db://CONN_ID takes place, user and password from an Airflow connection of type postgres."""
    place = {"host": table.worker.host, "port": table.worker.port, "schema": table.worker.database}
    login = {"login": table.worker.username, "password": table.worker.password}
    monkeypatch.setenv("AIRFLOW_CONN_AUDIT_PG", json.dumps({"conn_type": "postgres", **place, **login}))
    AccessLog.open(["db://audit_pg"], version="1").record([PUSHED])
    assert len(read_chain(table.lines())) == 1


def test_looking_tells_whether_the_user_may_insert(table: AuditTable) -> None:
    """Without events nothing is written; a user without the grant is told so, without the password."""
    sink(table.uri).write([])
    assert table.lines() == []
    table.run(f"REVOKE INSERT ON secure_xcom_events FROM {table.worker.username}")
    with pytest.raises(AuditError, match="InsufficientPrivilege") as caught:
        sink(table.uri).write([])
    assert "canary" not in f"{caught.value!r}{caught.value}"


def test_an_insert_without_an_answer_is_made_again(table: AuditTable) -> None:
    """Rows that are there already are left, with a grant to INSERT alone; what was missing comes."""
    double = MemorySink()
    AccessLog([double], version="1").record([PUSHED, PULLED])
    sink(table.uri).write(double.lines[:1])
    sink(table.uri).write(double.lines)
    assert table.lines() == [line.data for line in double.lines]


def test_a_constraint_of_the_table_is_told(table: AuditTable) -> None:
    """A row that the table refuses is not taken for one that is there already."""
    table.run("ALTER TABLE secure_xcom_events ADD CHECK (length(line) < 10)")
    with pytest.raises(AuditError, match="CheckViolation"):
        AccessLog.open([table.uri], version="1").record([PUSHED])
    assert table.lines() == []


def test_a_database_that_was_down_gets_all(postgres: PostgresServer, table: AuditTable) -> None:
    """While it is stopped nothing is taken; started again it gets what it missed, over a new connection."""
    log = AccessLog.open([table.uri], version="1")
    log.record([PUSHED])
    postgres.stop()
    try:
        with pytest.raises(AuditError, match="OperationalError"):
            log.record([PULLED])
    finally:
        postgres.start()
    log.record([PUSHED])
    log.close()
    assert len(read_chain(table.lines())) == 4


def test_a_restart_between_two_events_is_not_noticed(postgres: PostgresServer, table: AuditTable) -> None:
    """A connection that broke while nobody used it is made anew at once."""
    log = AccessLog.open([table.uri], version="1")
    log.record([PUSHED])
    postgres.stop()
    postgres.start()
    log.record([PULLED])
    assert len(read_chain(table.lines())) == 2


def test_a_database_that_is_not_there(table: AuditTable) -> None:
    """A sink that is down from the start takes nothing, and no password is told."""
    nowhere = table.worker.set(port=free_port()).render_as_string(hide_password=False)
    with pytest.raises(AuditError, match="OperationalError") as caught:
        AccessLog.open([f"db+{nowhere}"], version="1").record([PUSHED])
    assert "canary" not in f"{caught.value!r}{caught.value}"


# --- S3 -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """One server for this file."""
    with s3_server() as found:
        yield found


def connect(monkeypatch: pytest.MonkeyPatch, endpoint: str, identity: Identity) -> str:
    """An Airflow connection in the environment."""
    conn_id = f"audit_{uuid.uuid4().hex[:8]}"
    connection: dict[str, Any] = {
        "conn_type": "aws",
        "login": identity.access_key,
        "password": identity.secret_key,
    }
    connection["extra"] = {"endpoint_url": endpoint, "region_name": REGION}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    return conn_id


def bodies(server: S3Server, bucket: str) -> list[bytes]:
    """The objects of a bucket, by their names, as its owner reads them."""
    client = server.client()
    names = sorted(item["Key"] for item in client.list_objects_v2(Bucket=bucket).get("Contents", ()))
    return [client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names]


def test_a_right_to_put_is_enough(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that may only create objects below the prefix writes one object per call, and reads none."""
    bucket = server.make_bucket()
    worker = server.identity(allow(["PutObject"], f"{bucket}/log/*"))
    conn_id = connect(monkeypatch, server.endpoint, worker)
    sink(f"s3://{conn_id}@{bucket}/log").write([])
    log = AccessLog.open([f"s3://{conn_id}@{bucket}/log"], version="1")
    log.record([PULLED] * 50)
    log.record([PUSHED])
    log.close()
    lying = [body for body in bodies(server, bucket) if body]
    assert len(lying) == 2
    [chain] = read_chains(b"".join(lying)).values()
    assert [event["action"] for event in chain] == ["pull"] * 50 + ["push", "chain_end"]
    with pytest.raises(AuditError, match="StoreDenied"):
        AccessLog.open([f"s3://{conn_id}@{bucket}/elsewhere"], version="1").record([PUSHED])


@pytest.mark.parametrize("kind", ["drop", "lose"])
def test_a_bucket_that_was_away_gets_all(
    kind: Literal["drop", "lose"], server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put without an answer, done or not, is not taken; then the bucket has every event once."""
    bucket = server.make_bucket()
    with faulty_proxy(server.endpoint) as proxy:
        conn_id = connect(monkeypatch, proxy.endpoint, server.root)
        uri = f"s3://{conn_id}@{bucket}/log?retries=0&retry_seconds=1&timeout=5"
        log = AccessLog.open([uri], version="1")
        log.record([PULLED])
        proxy.faults.append(Fault(kind, "PUT"))
        with pytest.raises(AuditError, match="StoreUnavailable"):
            log.record([PULLED])
        log.record([PUSHED])
        log.close()
    [chain] = read_chains(b"".join(bodies(server, bucket))).values()
    assert [event["action"] for event in chain] == ["pull", "pull", "push", "chain_end"]

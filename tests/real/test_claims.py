"""Claims on real servers: 200 claimants at once over PostgreSQL and S3; least rights; kills at each step."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy

from secure_xcom.claims.claim_listing import ListedClaimObjects
from secure_xcom.claims.claim_table import ClaimTable
from secure_xcom.claims.claimant import Claimant
from secure_xcom.claims.ledger import ListedLedger
from secure_xcom.claims.migrate import migrate
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.claim_errors import ClaimRefused
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry
from secure_xcom.core.errors import ReferenceShredded
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.core.reference import parse
from secure_xcom.core.service_errors import ClaimsUnavailable
from secure_xcom.core.store_errors import StoreDenied
from secure_xcom.ops.jobs.shred_finished import shred_finished
from secure_xcom.ops.keyring import create_keyring
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import Store, store
from tests.support.claim_contract import ClaimContract, ClaimTableContract, a_day_later, claimant, taken, target
from tests.support.killing import Killing, dies
from tests.support.servers.postgres_server import PostgresServer, postgres_server
from tests.support.servers.s3_server import REGION, Identity, S3Server, allow, s3_server


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """One server for this file."""
    with postgres_server() as found:
        yield found


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """One server for this file."""
    with s3_server() as found:
        yield found


def connect(monkeypatch: pytest.MonkeyPatch, server: S3Server, identity: Identity) -> str:
    """An Airflow connection in the environment."""
    conn_id = f"s3_{uuid.uuid4().hex[:8]}"
    fields = {
        "conn_type": "aws",
        "login": identity.access_key,
        "password": identity.secret_key,
        "extra": {"endpoint_url": server.endpoint, "region_name": REGION},
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    return conn_id


class TestPostgres(ClaimTableContract):
    ROUNDS = 5

    @pytest.fixture
    def race(self, postgres: PostgresServer) -> tuple[str, str]:
        return "database", f"db+{postgres.new_database()}"


class TestS3(ClaimContract):
    ROUNDS = 3

    @pytest.fixture
    def place(self, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
        return f"s3://{connect(monkeypatch, s3, s3.root)}@{s3.make_bucket()}/claims"

    @pytest.fixture
    def race(self, place: str) -> tuple[str, str]:
        # SeaweedFS takes writers of one object in turn: the last of 200 has no answer for half a minute where the
        # machine is busy with other tests, and a claimant that is not answered has neither won nor lost.
        return "store", f"{place}?timeout=240"

    @pytest.fixture
    def ledger(self, place: str) -> ListedLedger:
        opened = store(place)
        return ListedClaimObjects(lambda _: opened)


def test_a_task_needs_two_rights_in_the_database(postgres: PostgresServer) -> None:
    """With SELECT and INSERT alone a task claims, and can neither take a claim away nor make or drop the table."""
    url = sqlalchemy.make_url(postgres.new_database())
    migrate(ClaimTable(f"db+{url.render_as_string(hide_password=False)}"))
    role = f"task_{uuid.uuid4().hex[:8]}"
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(sqlalchemy.text(f"GRANT SELECT, INSERT ON claim_xcom TO {role}"))
    engine.dispose()
    table = ClaimTable(f"db+{url.set(username=role).render_as_string(hide_password=False)}")
    at = target("memory://x")
    assert taken(table, at, "a") == table.find_many([at])[0]
    with pytest.raises(ClaimsUnavailable, match="InsufficientPrivilege"):
        table.remove(at)
    with pytest.raises(ClaimsUnavailable):
        migrate(table, to="base")


def test_a_connection_of_airflow_is_enough(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """db://CONN_ID is an Airflow connection of type postgres, over the driver that Airflow's provider brings."""
    url = sqlalchemy.make_url(postgres.new_database())
    place = {"host": url.host, "port": url.port, "schema": url.database}
    login = {"login": url.username, "password": url.password}
    monkeypatch.setenv("AIRFLOW_CONN_CLAIMS_PG", json.dumps({"conn_type": "postgres", **place, **login}))
    table = ClaimTable("db://claims_pg")
    assert migrate(table) == (None, "0001")
    at = target("memory://x")
    assert taken(table, at, "a") == table.find_many([at])[0]


def test_a_stopped_database_refuses_and_loses_nothing(postgres: PostgresServer) -> None:
    """Without the database nothing is claimed and nothing given; when it is back the claims are there."""
    url = f"db+{postgres.new_database()}"
    table = ClaimTable(url)
    migrate(table)
    at = target("memory://x")
    taken(table, at, "a")
    postgres.stop()
    try:
        with pytest.raises(ClaimsUnavailable):
            taken(ClaimTable(url, patience=0.2), at, "b")
    finally:
        postgres.start()
    with pytest.raises(ClaimRefused):
        taken(table, at, "b")
    assert taken(table, at, "a").claimant == claimant("a")


def test_a_reader_needs_a_prefix_of_its_own(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With create and read below ~claims a reader claims, and can neither remove a claim nor put a payload."""
    bucket = s3.make_bucket()
    root = f"s3://{connect(monkeypatch, s3, s3.root)}@{bucket}/x"
    reader = s3.identity(allow(["PutObject", "GetObject"], f"{bucket}/x/~claims/finance/*"))
    place = f"s3://{connect(monkeypatch, s3, reader)}@{bucket}/x"
    mine = store(place)
    ledger = ListedClaimObjects(lambda _: mine)
    at = target(place)
    assert taken(ledger, at, "a").claimant == claimant("a")
    with pytest.raises(ClaimRefused):
        taken(ledger, at, "b")
    with pytest.raises(StoreDenied):
        ledger.remove(at)
    with pytest.raises(StoreDenied):
        mine.put(at.path.replace("~claims/", ""), (b"x",))
    operator = store(root)
    assert [entry.path for entry in operator.list()] == [at.path]
    nobody = s3.identity(allow(["GetObject"], f"{bucket}/x/finance/d/*"))
    other = store(f"s3://{connect(monkeypatch, s3, nobody)}@{bucket}/x")
    with pytest.raises(StoreDenied, match="`exclusive` of the compartment"):
        taken(ListedClaimObjects(lambda _: other), target(place), "a")


# --- killed at each step ----------------------------------------------------------------------------------

AT = Coordinate("orders", "run", "make", -1, "token")
READER = TaskTry("orders", "run", "read", -1, 1)
OTHER = TaskTry("orders", "run", "other", -1, 1)


class FileRows:
    """The rows of a deployment, in a file: `secure_xcom.claims.shred.Rows`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "row.json"

    def read(self, at: Coordinate) -> list[Any]:
        return [json.loads(self.path.read_text())]

    def replace(self, at: Coordinate, old: object, new: object) -> bool:
        if self.read(at) != [old]:
            return False
        whole = self.path.with_suffix(".new")
        whole.write_text(json.dumps(new))
        os.replace(whole, self.path)
        return True


def deployment(folder: Path, step: str = "") -> Pipeline:
    """A process of a deployment with a keyring, a folder and a log in files, that dies at a step."""
    opened: Store = Killing(store(f"file://{folder}/store"), "store", step)
    log = AccessLog.open([f"file://{folder}/log/access.jsonl"], version="test")
    return Pipeline(
        Settings(),
        AccessPolicy.single([f"local://{folder}/keyring.json"], f"file://{folder}/store"),
        cast(AccessLog, Killing(log, "log", step)),
        SensitiveNames(()),
        Codecs(lambda value: value, lambda structure: structure),
        register=lambda secrets: None,
        stores=lambda _: opened,
        ledger=Killing(ListedClaimObjects(lambda _: opened), "ledger", step),
    )


def pulled(folder: Path, task: TaskTry, step: str = "") -> Pipeline:
    """A pull in a process of its own."""
    process = deployment(folder, step)
    asked = Asked(AT.dag_id, AT.task_id, AT.key, AT.run_id, AT.map_index)
    who = Claimant(task.dag_id, task.run_id, task.task_id, task.map_index, 0)
    values = process.pull([Row(FileRows(folder).read(AT)[0], asked)], consumer=task, claimant=who)
    assert values == ["opensesame"]
    return process


def reader() -> Claimant:
    """The reader's task instance."""
    return Claimant(READER.dag_id, READER.run_id, READER.task_id, READER.map_index)


def pull(folder: str, step: str) -> None:
    """Pull, as the reader."""
    pulled(Path(folder), READER, step)


def pull_and_shred(folder: str, step: str) -> None:
    """Pull and come to a task's end, as the reader."""
    pulled(Path(folder), READER, step).shred(Killing(FileRows(Path(folder)), "rows", step), reader())


def maintain(folder: str, step: str) -> None:
    """Maintenance, when Airflow says that the reader has succeeded."""
    process = deployment(Path(folder), step)
    for _ in shred_finished(
        cast(ListedLedger, Killing(ListedClaimObjects(process.store), "ledger", step)),
        [(f"file://{folder}/store", "default")],
        succeeded=lambda who: who.task_id == "read",
        held=lambda dag, run: None,
        rows=Killing(FileRows(Path(folder)), "rows", step),
        stores=process.store,
    ):
        pass


def maintain_a_day_later(folder: str, step: str) -> None:
    """Maintenance that finds the claim old enough to be removed."""
    with a_day_later():
        maintain(folder, step)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A deployment with one exclusive XCom."""
    from secure_xcom import exclusive

    (tmp_path / "store").mkdir(0o700)
    create_keyring(str(tmp_path / "keyring.json"))
    [row] = deployment(tmp_path).push([Push(AT, exclusive("opensesame"))])
    (tmp_path / "row.json").write_text(json.dumps(row))
    return tmp_path


def finish(folder: Path) -> None:
    """The reader's next try, a second reader's attempt, and maintenance: all is as if nothing had been killed."""
    process = pulled(folder, READER)
    with pytest.raises(ClaimRefused):
        pulled(folder, OTHER)
    assert process.shred(FileRows(folder), reader())[0].whole
    nothing_is_left(folder)


def nothing_is_left(folder: Path) -> None:
    """After maintenance there is neither payload nor claim, and nobody pulls."""
    maintain(str(folder), "")
    maintain_a_day_later(str(folder), "")
    assert list(store(f"file://{folder}/store").list()) == []
    assert parse(FileRows(folder).read(AT)[0]).shredded is not None
    for task in (READER, OTHER):
        with pytest.raises(ReferenceShredded):
            pulled(folder, task)


@pytest.mark.parametrize(
    "step",
    ["ledger.find_many:after", "ledger.create:before", "ledger.create:after", "log.record:before",
     "log.record:after", "log.record:before*2", "log.record:after*2"],
)  # fmt: skip
def test_killed_between_claim_and_value(folder: Path, step: str) -> None:
    """Killed before or after the claim, its event, the opening or the pull's event: the next try has the value."""
    dies(pull, str(folder), step)
    finish(folder)


@pytest.mark.parametrize(
    "step", ["rows.read:after", "rows.replace:before", "rows.replace:after", "store.delete_many:before",
             "store.delete_many:after"],
)  # fmt: skip
def test_killed_between_success_and_shredding(folder: Path, step: str) -> None:
    """Killed at its end, a task that has succeeded leaves to maintenance what it had not shredded."""
    dies(pull_and_shred, str(folder), step)
    with pytest.raises((ClaimRefused, ReferenceShredded)):
        pulled(folder, OTHER)
    nothing_is_left(folder)


@pytest.mark.parametrize(
    "step", ["rows.replace:before", "rows.replace:after", "store.delete_many:before", "store.delete_many:after"]
)
def test_killed_in_maintenance(folder: Path, step: str) -> None:
    """Killed at any step, maintenance that is run again finishes, and meanwhile nobody else comes in."""
    pull(str(folder), "")
    dies(maintain, str(folder), step)
    with pytest.raises((ClaimRefused, ReferenceShredded)):
        pulled(folder, OTHER)
    nothing_is_left(folder)


@pytest.mark.parametrize("step", ["ledger.remove:before", "ledger.remove:after"])
def test_killed_while_it_removes_a_claim(folder: Path, step: str) -> None:
    """Killed before or after the removal of a claim, of which nothing else was left, it finishes the next time."""
    pull(str(folder), "")
    maintain(str(folder), "")
    dies(maintain_a_day_later, str(folder), step)
    with pytest.raises(ReferenceShredded):
        pulled(folder, OTHER)
    nothing_is_left(folder)

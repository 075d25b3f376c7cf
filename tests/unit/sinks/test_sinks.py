"""Every sink but the file's, as far as it needs no server of somebody else's."""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.errors import AuditError, ConfigurationError, ExtraMissing, SettingInvalid, UriInvalid
from secure_xcom.core.event import Event
from secure_xcom.ops.keyring import create_keyring
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.sinks.database import DDL
from secure_xcom.sinks.hashed_ids import IdHasher
from secure_xcom.sinks.interface import sink
from secure_xcom.sinks.objects import ObjectSink
from secure_xcom.sinks.policy_digest import PolicyDigestFile
from secure_xcom.sinks.sink_uri import SinkUri
from secure_xcom.stores import store
from tests.support.audit_reading import read_chain, read_chains
from tests.support.doubles import MemorySink, MemoryStore
from tests.support.servers.certificates import PrivateCa
from tests.support.servers.syslog_tls import collector
from tests.support.servers.vault_server import free_port
from tests.support.world import coordinate
from tests.unit.core.test_event import FULL, TRY

ROOT = Path(__file__).parents[3]
PUSHED = Event("push", "ok", coordinate=coordinate(), task=TRY)


@pytest.mark.parametrize(
    "uri",
    [
        "nothing",
        "ftp://host",
        "file://host/path",
        "file:///",
        "file:///a?fsync=maybe",
        "file:///a?unknown=1",
        "file:///a?fsync=true&fsync=true",
        "file:///a?fsync",
        "log://",
        "log://a?b=c",
        "db://not a name",
        "db+nothing",
        "db+nodialect://host/db",
        "db+://",
        "db+postgresql://me:canary-password@host/db?table=a;b",
        "syslog+tls://",
        "syslog+tls://host/path",
        "syslog+tls://host:port",
        "syslog+tls://canary-password@host",
        "syslog+tls://host?timeout=never",
        "s3://bucket/prefix?batch=task",
        "s3://bucket/prefix?batch=all&optional=true",
        "memory://a b",
    ],
)
def test_a_sink_uri_with_a_typo_is_an_error(uri: str) -> None:
    """What is no sink is told as such, and what may be a password is not repeated."""
    with pytest.raises(UriInvalid) as caught:
        sink(uri)
    assert "canary" not in f"{caught.value}{caught.value!r}"
    assert "What to do" in str(caught.value)


@pytest.mark.parametrize("uris", [[], ["memory://a?optional=true", "memory://b?optional=true"]])
def test_one_sink_must_be_required(uris: list[str]) -> None:
    """A deployment whose sinks may all fail would give values out unlogged."""
    with pytest.raises(SettingInvalid, match="no sink"):
        AccessLog.open(uris, version="1")


# --- database --------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A SQLite database with the table of the documentation."""
    [ddl] = re.findall(
        r"```sql\n(CREATE TABLE.*?)```", (ROOT / "docs" / "reference" / "access-log.md").read_text(), re.DOTALL
    )
    assert ddl.rstrip().rstrip(";") == DDL.rstrip()
    connection = sqlite3.connect(tmp_path / "audit.db")
    connection.execute(DDL)
    connection.close()
    return tmp_path / "audit.db"


def rows(path: Path, columns: str = "line") -> list[tuple[Any, ...]]:
    """What the table holds, in the order of its writing."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT {columns} FROM secure_xcom_events ORDER BY rowid").fetchall()  # noqa: S608
    finally:
        connection.close()


def test_events_are_rows(table: Path) -> None:
    """Each event is a row with its line as it was written, and columns to search by."""
    log = AccessLog.open([f"db+sqlite:///{table}"], version="1")
    log.record([PUSHED, FULL])
    log.close()
    events = read_chain(line.encode() for (line,) in rows(table))
    assert [event["action"] for event in events] == ["push", "pull", "chain_end"]
    assert rows(table, "id, action, dag_id, run_id, task_id, sequence")[0] == (
        events[0]["id"], "push", "orders", coordinate().run_id, "extract", 0,
    )  # fmt: skip


def test_a_row_that_is_there_is_not_written_twice(table: Path) -> None:
    """An insert whose answer was lost is made again and changes nothing; what was missing comes."""
    double = MemorySink()
    AccessLog([double], version="1").record([PUSHED, FULL])
    target = sink(f"db+sqlite:///{table}")
    target.write(double.lines[:1])
    target.write(double.lines)
    assert rows(table) == [(line.data.decode(),) for line in double.lines]


def test_a_table_that_refuses_a_row_is_no_sink(tmp_path: Path) -> None:
    """A constraint of the table's own is not taken for a row that is there already."""
    connection = sqlite3.connect(tmp_path / "audit.db")
    connection.execute(DDL.replace("line TEXT NOT NULL", "line TEXT NOT NULL CHECK (length(line) < 10)"))
    connection.close()
    log = AccessLog.open([f"db+sqlite:///{tmp_path}/audit.db"], version="1")
    for _ in range(2):
        with pytest.raises(AuditError, match="IntegrityError"):
            log.record([PUSHED])
    assert rows(tmp_path / "audit.db") == []


def test_a_database_without_the_table_takes_nothing(tmp_path: Path) -> None:
    """The error names the class of what the driver said, and neither rows nor the URL's password."""
    target = sink(f"db+sqlite:///{tmp_path}/other.db")
    for lines in ([], MemorySink().lines):
        with pytest.raises(AuditError, match="OperationalError"):
            target.write(lines)


def test_a_forked_child_has_its_own_connection(table: Path) -> None:
    """Parent and child both write, and neither uses the other's connection."""
    log = AccessLog.open([f"db+sqlite:///{table}"], version="1")
    log.record([PUSHED])
    pid = os.fork()
    if pid == 0:
        try:
            log.record([PUSHED])
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    log.record([PUSHED])
    assert [pid_ == pid for (pid_,) in ((json.loads(line)["pid"],) for (line,) in rows(table))] == [
        False,
        True,
        False,
    ]


def test_a_driver_that_is_missing_is_told_at_once() -> None:
    """A database whose driver is not installed is an error of the settings, before any event is made."""
    with pytest.raises(ExtraMissing, match="driver"):
        sink("db+postgresql+pg8000://me:canary-password@host/db")


def test_threads_share_a_database(table: Path) -> None:
    """Asynchronous pulls write from several threads, over the one connection."""
    log = AccessLog.open([f"db+sqlite:///{table}"], version="1")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: log.record([PUSHED]), range(100)))
    assert len(read_chain(line.encode() for (line,) in rows(table))) == 100


def test_a_database_of_an_airflow_connection(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """db://CONN_ID takes the connection's type and place; a type that is no database is an error."""
    monkeypatch.setenv("AIRFLOW_CONN_AUDIT_DB", json.dumps({"conn_type": "sqlite", "host": str(table)}))
    monkeypatch.setenv("AIRFLOW_CONN_AUDIT_HTTP", json.dumps({"conn_type": "http", "host": "a"}))
    AccessLog.open(["db://audit_db"], version="1").record([PUSHED])
    assert len(rows(table)) == 1
    with pytest.raises(ConfigurationError, match="http"):
        sink("db://audit_http")


# --- Python logging, OpenTelemetry -----------------------------------------------------------------------


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of the test's own."""
    found = logging.getLogger(f"audit_{uuid.uuid4().hex[:8]}")
    found.propagate = False
    yield found
    found.handlers.clear()


def test_events_are_opentelemetry_logs(logger: logging.Logger) -> None:
    """Through OpenTelemetry's own handler each event is a log record: its line is the body, ids are attributes."""
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import InMemoryLogExporter, SimpleLogRecordProcessor

    exporter: Any = InMemoryLogExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger.addHandler(LoggingHandler(logger_provider=provider))
    logger.setLevel(logging.INFO)
    log = AccessLog.open([f"log://{logger.name}"], version="1")
    log.record([PUSHED, FULL])
    log.close()
    records = [one.log_record for one in exporter.get_finished_logs()]
    events = read_chain(str(record.body).encode() for record in records)
    assert [record.severity_text for record in records] == ["INFO", "WARN", "INFO"]
    for record, event in zip(records, events, strict=True):
        assert record.attributes is not None
        assert record.attributes["secure_xcom.id"] == event["id"]
        assert record.attributes["secure_xcom.action"] == event["action"]


def test_a_logger_that_drops_is_no_sink(logger: logging.Logger) -> None:
    """Without a handler, or over the level INFO, the event is not taken."""
    # In a process of its own, because pytest gives every logger a handler.
    code = (
        "import logging\nfrom secure_xcom.sinks.interface import sink\n"
        "logging.getLogger('audit').setLevel(logging.INFO)\nsink('log://audit').write([])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "AuditError: the logger has no handler" in done.stderr
    log = AccessLog.open([f"log://{logger.name}"], version="1")
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.NullHandler())
    log.record([PUSHED])
    logger.setLevel(logging.ERROR)
    with pytest.raises(AuditError, match="level"):
        log.record([PUSHED])


# --- syslog over TLS -------------------------------------------------------------------------------------


def test_events_are_syslog_messages(tmp_path: Path) -> None:
    """Each event is one RFC 5424 message over one TLS connection, and its text is the line."""
    ca = PrivateCa(tmp_path)
    with collector(ca.issue("server", server=True)) as found:
        log = AccessLog.open([f"syslog+tls://localhost:{found.port}?ca={ca.cert}"], version="1")
        log.record([PUSHED])
        log.record([FULL, PUSHED])
        log.close()
        messages = found.wait_for(4)
        events = read_chain(message[7] for message in messages)
        assert found.accepted == 1
    assert [event["action"] for event in events] == ["push", "pull", "push", "chain_end"]
    # 13 * 8 + 5 for what was done, + 4 for what was not.
    assert [message[0] for message in messages] == [b"109", b"108", b"109", b"109"]
    for message, event in zip(messages, events, strict=True):
        assert message[1:6] == tuple(
            text.encode()
            for text in (event["time"], event["host"], "secure_xcom", str(event["pid"]), event["action"])
        )


def test_a_collector_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    """A connection that the collector ended is seen before a write; while nobody listens nothing is taken."""
    ca = PrivateCa(tmp_path)
    own = ca.issue("server", server=True)
    with collector(own) as found:
        log = AccessLog.open([f"syslog+tls://127.0.0.1:{found.port}?ca={ca.cert}"], version="1")
        log.record([PUSHED])
        found.wait_for(1)
        found.hang_up()
        log.record([PUSHED])
        found.wait_for(2)
    with pytest.raises(AuditError, match="did not accept the event"):
        log.record([PUSHED])
    with collector(own, port=found.port) as again:
        log.record([PUSHED])
        # The one that nobody took comes first.
        assert [json.loads(message[7])["sequence"] for message in again.wait_for(2)] == [2, 3]


def test_a_collector_of_another_name_or_ca_gets_nothing(tmp_path: Path) -> None:
    """The certificate must be of the CA that is named, and of the host that is named."""
    ca, other = PrivateCa(tmp_path), PrivateCa(tmp_path, "other")
    with collector(other.issue("server", server=True)) as found:
        uri = f"syslog+tls://127.0.0.1:{found.port}?ca={ca.cert}"
        with pytest.raises(AuditError, match="SSLCertVerificationError"):
            sink(uri).write([])
    with collector(ca.issue("server", server=True)) as found:
        with pytest.raises(AuditError, match="SSLCertVerificationError"):
            sink(f"syslog+tls://127.1:{found.port}?ca={ca.cert}").write([])
        assert found.messages == []


def test_a_collector_may_ask_for_a_certificate(tmp_path: Path) -> None:
    """With cert and key the worker proves who it is."""
    ca = PrivateCa(tmp_path)
    own = ca.issue("client", server=False)
    with collector(ca.issue("server", server=True), clients=str(ca.cert)) as found:
        place = f"syslog+tls://127.0.0.1:{found.port}?ca={ca.cert}"
        AccessLog.open([f"{place}&cert={own.cert}&key={own.key}"], version="1").record([PUSHED])
        found.wait_for(1)
        # In TLS 1.3 the refusal comes after the handshake, and no event must be lost to it.
        with pytest.raises(AuditError, match="certificate"):
            AccessLog.open([place], version="1").record([PUSHED])
        assert len(found.messages) == 1


def test_nobody_listens() -> None:
    """A sink that is down from the start takes nothing."""
    with pytest.raises(AuditError, match="ConnectionRefusedError"):
        sink(f"syslog+tls://127.0.0.1:{free_port()}").write([])


# --- objects ---------------------------------------------------------------------------------------------


def objects(uri: str) -> dict[str, bytes]:
    """What lies in a store, by path."""
    found = store(uri)
    return {
        entry.path: b"".join(found.get(entry.path)) for entry in sorted(found.list(), key=lambda one: one.path)
    }


def test_each_call_is_an_object() -> None:
    """One object per write, named by its chain and first number; a return value's holds the chain's end too."""
    uri = f"memory://{uuid.uuid4().hex}"
    log = AccessLog.open([uri], version="1")
    log.record([Event("pull", "ok", coordinate=coordinate(map_index=index)) for index in range(100)])
    log.record([PUSHED])
    log.close()
    lying = objects(uri)
    [chain] = read_chains(b"".join(lying.values())).values()
    assert [event["action"] for event in chain] == ["pull"] * 100 + ["push", "chain_end"]
    day = chain[0]["time"][:10]
    assert list(lying) == [f"events/{day}/{chain[0]['chain']}/{number:09}.jsonl" for number in (0, 100)]


def test_a_whole_task_is_an_object() -> None:
    """An optional sink with batch=task writes one object at the end of the chain."""
    uri = f"memory://{uuid.uuid4().hex}"
    log = AccessLog.open([f"{uri}?optional=true&batch=task", f"memory://{uuid.uuid4().hex}"], version="1")
    log.record([FULL])
    log.record([FULL])
    assert objects(uri) == {}
    log.record([PUSHED])
    log.close()
    [body] = objects(uri).values()
    [chain] = read_chains(body).values()
    assert [event["action"] for event in chain] == ["pull", "pull", "push", "chain_end"]


class Forgetful(MemoryStore):
    """A store whose answers get lost: the object is there, and the caller hears of a failure."""

    lost = 0

    def put(self, path: str, payload: Iterable[bytes]) -> None:
        """Put, and say that it failed."""
        body = b"".join(payload)
        if self.objects.get(path) != body:
            super().put(path, [body])
        if self.lost:
            self.lost -= 1
            self.unavailable = True
            self._request("put")


def test_an_answer_that_was_lost_makes_no_second_object() -> None:
    """What was put without an answer is put again as it was, under its name; new events are another object."""
    lying = Forgetful()
    target = ObjectSink(SinkUri.parse("memory://unused"), lying)
    log = AccessLog([target], version="1")
    log.record([FULL])
    lying.lost = 1
    with pytest.raises(AuditError, match="StoreUnavailable"):
        log.record([FULL, FULL])
    lying.unavailable = False
    log.record([FULL])
    names = [path.rpartition("/")[2] for path in sorted(lying.objects)]
    assert names == ["000000000.jsonl", "000000001.jsonl", "000000003.jsonl"]
    [chain] = read_chains(b"".join(lying.objects[path] for path in sorted(lying.objects))).values()
    assert len(chain) == 4


def test_a_store_that_is_down_takes_nothing_and_then_all() -> None:
    """A sink that is down in the middle gets what it missed, across the end of a chain as well."""
    lying = MemoryStore()
    log = AccessLog([ObjectSink(SinkUri.parse("memory://unused"), lying)], version="1")
    log.record([FULL])
    lying.unavailable = True
    with pytest.raises(AuditError):
        log.record([PUSHED])
    with pytest.raises(AuditError):
        log.record([FULL])
    lying.unavailable = False
    log.record([FULL])
    chains = read_chains(b"".join(lying.objects[path] for path in sorted(lying.objects)))
    assert sorted([event["action"] for event in chain] for chain in chains.values()) == [
        ["pull", "pull"],
        ["pull", "push", "chain_end"],
    ]


def test_looking_needs_no_event() -> None:
    """Without events an empty object says whether the worker may write, below a folder of its own."""
    uri = f"memory://{uuid.uuid4().hex}"
    sink(uri).write([])
    assert [(path.split("/")[0], body) for path, body in objects(uri).items()] == [("check", b"")]


# --- hashed ids, the policy's digest ---------------------------------------------------------------------


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A key for ids."""
    path = tmp_path / "ids.key"
    path.touch(0o600)
    path.write_bytes(b"k" * 32)
    return path


def test_hashed_ids_are_found_by_who_has_the_key(key_file: Path) -> None:
    """No id of an event is in clear, its hash is the same in each event, and HMAC by another library gives it."""
    import hmac

    memory = MemorySink()
    hasher = IdHasher.load(str(key_file))
    log = AccessLog([memory], version="1", hasher=hasher)
    log.record([FULL, Event("push", "ok", coordinate=coordinate(), task=TRY)])
    pull, push = read_chain(line.data for line in memory.lines)
    told = b"".join(line.data for line in memory.lines).decode()
    for text in ("orders", "extract", "return_value", coordinate().run_id, "s3://b/p", "alice"):
        assert f'"{text}"' not in told
    by_hand = hmac.new(b"k" * 32, b"dag_id\0orders", "sha256").hexdigest()
    assert hasher.hash("dag_id", "orders").endswith(f":{by_hand}")
    assert pull["producer"]["dag_id"] == push["task"]["dag_id"] == hasher.hash("dag_id", "orders")
    assert pull["asked"]["task_id"] == push["producer"]["task_id"] == hasher.hash("task_id", "extract")
    assert pull["compartment"] == "finance"
    assert "k" * 32 not in repr(hasher)


def test_some_ids_are_hashed(key_file: Path) -> None:
    """Only the chosen ids are hashed; the object's URI goes with any that stands in it."""
    memory = MemorySink()
    log = AccessLog([memory], version="1", hasher=IdHasher.load(str(key_file), ["run_id"]))
    log.record([FULL])
    [event] = memory.records
    assert event["producer"]["dag_id"] == "orders"
    assert event["producer"]["run_id"].startswith("hmac-sha256:")
    assert event["object"].startswith("hmac-sha256:")
    assert event["operator"] == "alice"


def test_another_key_is_told_from_this_one(key_file: Path, tmp_path: Path) -> None:
    """The eight characters of a hash say which key made it."""
    other = IdHasher(b"o" * 32)
    mine = IdHasher.load(str(key_file))
    assert mine.hash("key", "a").split(":")[1] != other.hash("key", "a").split(":")[1]
    assert mine.hash("key", "a").split(":")[1] == mine.hash("key", "b").split(":")[1]


def test_a_bad_key_file_is_an_error(key_file: Path, tmp_path: Path) -> None:
    """A missing, open or short key, or an id that is none, is told; the key is not repeated."""
    with pytest.raises(SettingInvalid, match="cannot be read"):
        IdHasher.load(str(tmp_path / "none"))
    with pytest.raises(SettingInvalid, match="not an id"):
        IdHasher.load(str(key_file), ["value"])
    key_file.chmod(0o640)
    with pytest.raises(SettingInvalid, match="open to others"):
        IdHasher.load(str(key_file))
    key_file.chmod(0o600)
    key_file.write_bytes(b"canary")
    with pytest.raises(SettingInvalid, match="under 32 bytes") as caught:
        IdHasher.load(str(key_file))
    assert "canary" not in str(caught.value)


def test_a_change_of_the_policy_is_an_event(tmp_path: Path) -> None:
    """The first process with another access policy says so once, in the write of its first event."""
    actions = []
    memory = MemorySink()
    for digest in ("a" * 64, "a" * 64, "b" * 64, "b" * 64, "a" * 64):
        log = AccessLog(
            [memory], version="1", policy=digest, seen=PolicyDigestFile(tmp_path / "own" / "policy-seen")
        )
        log.record([Event("push", "ok")])
        log.record([Event("pull", "ok")])
        actions.append([record["action"] for record in memory.records])
        memory.lines.clear()
    plain = ["push", "pull"]
    assert actions == [plain, plain, ["policy_change", *plain], plain, ["policy_change", *plain]]


def test_a_change_that_nobody_took_is_seen_again(tmp_path: Path) -> None:
    """The new digest is kept only when its event was taken."""
    path, memory = tmp_path / "policy-seen", MemorySink()
    path.write_text("a" * 64)
    memory.full = True
    with pytest.raises(AuditError):
        AccessLog([memory], version="1", policy="b" * 64, seen=PolicyDigestFile(path)).record([PUSHED])
    assert path.read_text() == "a" * 64
    memory.full = False
    AccessLog([memory], version="1", policy="b" * 64, seen=PolicyDigestFile(path)).record([PUSHED])
    change = memory.records[0]
    assert (change["policy_before"], change["policy"]) == ("a" * 64, "b" * 64)
    assert path.read_text() == "b" * 64


def test_every_event_has_the_policy() -> None:
    """The digest is in the chain's end too."""
    memory = MemorySink()
    log = AccessLog([memory], version="1", policy="a" * 64)
    log.record([Event("rewrap", "ok")])
    log.close()
    assert [record["policy"] for record in memory.records] == ["a" * 64] * 2


def test_a_long_chain_is_ended_and_another_begins() -> None:
    """A process that lives long has chains of a thousand events, each closed, so that they can be sealed."""
    memory = MemorySink()
    log = AccessLog([memory], version="1")
    for _ in range(1500):
        log.record([Event("push", "ok")])
    log.close()
    chains = read_chains(b"".join(line.data + b"\n" for line in memory.lines))
    assert [len(chain) for chain in chains.values()] == [1001, 501]
    assert all(chain[-1]["action"] == "chain_end" for chain in chains.values())


PUSH = """\
from secure_xcom import SecureXComBackend
SecureXComBackend.serialize_value({"a": 1}, key="k", task_id="t", dag_id="orders", run_id="r", map_index=-1)
"""


def test_the_backend_writes_as_the_settings_say(key_file: Path, tmp_path: Path) -> None:
    """In Airflow's own settings: several sinks, hashed ids, and the change of the policy between two processes."""
    create_keyring(str(tmp_path / "keys" / "keyring.json"))
    (tmp_path / "sealed").mkdir()
    settings = {
        "KEY_URIS": f"local://{tmp_path}/keys/keyring.json",
        "STORE_URI": f"file://{tmp_path}/sealed",
        "AUDIT_SINKS": f"file://{tmp_path}/one.jsonl, file://{tmp_path}/folder/?fsync=true",
        "AUDIT_HASH_KEY": str(key_file),
        "AUDIT_HASH_IDS": "dag_id",
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    for change in ({}, {"STORE_URI": f"file://{tmp_path}/sealed/"}):
        chosen = {f"AIRFLOW__SECURE_XCOM__{name}": value for name, value in {**settings, **change}.items()}
        home = {"AIRFLOW_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", PUSH],
            env={**clean, **home, **chosen},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    first, second = read_chains((tmp_path / "one.jsonl").read_bytes()).values()
    assert [event["action"] for event in first] == ["push", "chain_end"]
    assert [event["action"] for event in second] == ["policy_change", "push", "chain_end"]
    assert second[0]["policy_before"] == first[0]["policy"] != second[0]["policy"]
    assert first[0]["producer"]["dag_id"] == IdHasher.load(str(key_file)).hash("dag_id", "orders")
    assert first[0]["producer"]["task_id"] == "t"
    [copy] = (tmp_path / "folder").iterdir()
    assert copy.read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_a_file_sink_with_half_an_address_is_refused() -> None:
    """A bracket after two slashes begins an IPv6 address, which has to end."""
    with pytest.raises(UriInvalid, match="the host of the URI is invalid"):
        sink("file://[/log.jsonl")

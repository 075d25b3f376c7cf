"""`secure-xcom open`: what an operator gets, what is refused to them, and what the access log says of it."""

from __future__ import annotations

import json
import stat
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from secure_xcom.claims.claimant import Claimant
from secure_xcom.claims.exclusive import exclusive
from secure_xcom.cli import app
from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.attempt import Attempt
from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry, encryption_context
from secure_xcom.core.errors import AuditError
from secure_xcom.core.pipeline.push_and_pull import Push, Row
from secure_xcom.core.reference import HEADER_BYTES, TIME_FORMAT, Head, Reference, WrappedKey, parse
from secure_xcom.core.seal import seal
from secure_xcom.keys import DataKey, key_service
from secure_xcom.ops.jobs.break_glass import break_glass
from secure_xcom.ops.jobs.opener import Opener
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import store
from tests.support.audit_reading import read_chains
from tests.support.upkeep_world import Upkeep
from tests.support.world import coordinate, own_task

VALUE = {"user": "ada", "password": "canary", "n": [1, 2.5, None]}
HOLD = "legal_holds:\n  - {name: case-7, dags: [orders]}\n"


@pytest.fixture
def upkeep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upkeep]:
    """A deployment, and its database named for commands."""
    made = Upkeep(tmp_path / "one")
    monkeypatch.setenv("SECURE_XCOM_DB", made.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    yield made
    made.close()


def run(upkeep: Upkeep, at: Coordinate | str, *words: str, reason: str = "ticket 4711") -> Result:
    """The command, with the deployment's settings and a file sink."""
    config = upkeep.folder / "airflow.cfg"
    config.write_text(
        f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\naudit_sinks = file://{upkeep.folder}/log.jsonl\n"
    )
    words = ("open", str(at), "--reason", reason, *words, "--config", str(config))
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def events(upkeep: Upkeep) -> list[dict[str, Any]]:
    """What the file sink has of openings, its chains verified."""
    log = upkeep.folder / "log.jsonl"
    text = log.read_bytes() if log.exists() else b""
    return [event for chain in read_chains(text).values() for event in chain if event["action"] == "open"]


def push_old(upkeep: Upkeep, value: Any, **ago: float) -> Coordinate:
    """A row that was truly sealed with a retention that is over."""
    at, then = coordinate(), datetime.now(timezone.utc) - timedelta(**ago)
    head = Head(
        *(at.dag_id, at.run_id, at.task_id, str(at.map_index), at.key),
        compartment="pay",
        codec="json",
        compression="none",
        created=then.strftime(TIME_FORMAT),
        expires=(then + timedelta(minutes=1)).strftime(TIME_FORMAT),
    )
    data_key = DataKey.generate()
    wrapped = key_service(upkeep.key_uri).wrap(data_key, encryption_context("pay", at))
    payload = b"".join(seal(data_key.secret, head.canonical(), (json.dumps(value).encode(),)))
    keys = (WrappedKey(upkeep.key_uri, wrapped),)
    upkeep.table.put(at, Reference(head, keys, payload[:HEADER_BYTES], len(payload), payload).dump())
    return at


def push_iterations(upkeep: Upkeep, count: int) -> tuple[Coordinate, list[str]]:
    """XComs of one task in a loop on Airflow 3.4, and the UUIDs of their task instances."""
    at, region = coordinate(task_id="looped"), uuid.uuid4()
    for index in range(count):
        upkeep.table.iterate(at, region, index, index)
    database = upkeep.table.database()
    attempts = []
    for row in sorted(database.rows(), key=lambda row: int(row.value)):
        assert row.attempt is not None
        attempts.append(row.attempt)
        pushed = replace(at, attempt=Attempt(row.attempt, str(region), len(attempts) - 1))
        sealed = upkeep.pipeline().push([Push(pushed, {"n": len(attempts)})], producer=own_task(pushed))[0]
        assert database.replace(row, sealed)
    database.close()
    return at, attempts


@pytest.fixture
def looped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upkeep]:
    """The same as `upkeep`, on Airflow 3.4."""
    made = Upkeep(tmp_path / "looped", schema=Schema.ATTEMPTS)
    monkeypatch.setenv("SECURE_XCOM_DB", made.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    yield made
    made.close()


def test_an_iteration_is_opened_by_its_task_instance(looped: Upkeep) -> None:
    """Without --attempt several iterations are refused, and the error names what to give."""
    at, attempts = push_iterations(looped, 2)
    refused = run(looped, at, "--show")
    assert refused.exit_code == 1
    assert "--attempt" in refused.stderr
    assert all(attempt in refused.stderr for attempt in attempts)
    for number, attempt in enumerate(attempts, 1):
        done = run(looped, at, "--show", "--attempt", attempt)
        assert (done.exit_code, json.loads(done.stdout)) == (0, {"n": number})
    assert run(looped, at, "--show", "--attempt", str(uuid.uuid4())).exit_code == 2
    assert [event["outcome"] for event in events(looped)] == ["refused", "ok", "ok", "failed"]


def test_an_iteration_in_anothers_row_is_refused(looped: Upkeep) -> None:
    """Rows of two iterations that were exchanged are not opened, and `inspect` says whose they are not."""
    at, attempts = push_iterations(looped, 2)
    database = looped.table.database()
    first, second = (database.at(at, attempt) for attempt in attempts)
    assert first is not None
    assert second is not None
    assert database.replace(first, second.value)
    database.close()
    refused = run(looped, at, "--show", "--attempt", attempts[0])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "another try of the task" in refused.stderr
    [event] = events(looped)
    assert (event["error"], event["asked"]["attempt"]) == ("AttemptMismatch", attempts[0])
    for attempt, code in zip(attempts, (1, 0), strict=True):
        words = ["inspect", str(at), "--attempt", attempt, "--db", looped.table.url, "--json"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == code
        assert json.loads(done.stdout)["belongs_to_this_row"] is not bool(code)


def test_by_default_only_the_shape_is_shown(upkeep: Upkeep) -> None:
    """Types and names are printed, no value is; the log has who, why and by which key, chained."""
    done = run(upkeep, upkeep.push(VALUE))
    assert (done.exit_code, done.stderr) == (0, "")
    assert '"password": "***"' in done.stdout
    assert not any(secret in done.output for secret in ("canary", "ada", "2.5"))
    [event] = events(upkeep)
    assert (event["outcome"], event["reason"], event["opened_by"]) == ("ok", "ticket 4711", upkeep.key_uri)
    assert event["operator"]
    assert (event["compartment"], event["codec"], event["cache_hit"]) == ("pay", "json", False)
    assert event["producer"]["dag_id"] == "orders"
    assert "canary" not in (upkeep.folder / "log.jsonl").read_text()


def test_show_prints_the_value_alone(upkeep: Upkeep) -> None:
    """With --show standard output is the value as JSON and nothing else; with --json it is a field."""
    at = upkeep.push(VALUE)
    done = run(upkeep, at, "--show")
    assert (done.exit_code, json.loads(done.stdout)) == (0, VALUE)
    assert "ticket 4711" in done.stderr
    assert "canary" not in done.stderr
    record = json.loads(run(upkeep, at, "--show", "--json").stdout)
    assert (record["value"], record["codec"], record["coordinate"]) == (VALUE, "json", str(at))
    assert "value" not in json.loads(run(upkeep, at, "--json").stdout)


def test_what_is_shown_cannot_move_the_cursor(upkeep: Upkeep) -> None:
    """Control and direction letters of a hostile value reach the terminal as escapes of JSON."""
    done = run(upkeep, upkeep.push("\x9b2J\u202e\x1b]0;x"), "--show")
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    assert json.loads(done.stdout) == "\x9b2J\u202e\x1b]0;x"


@pytest.mark.parametrize(
    ("value", "written"), [(b"\x00\xff raw", b"\x00\xff raw"), ({"a": "é"}, '{"a":"é"}'.encode())]
)
def test_out_writes_a_file_for_its_owner(upkeep: Upkeep, value: Any, written: bytes) -> None:
    """The file has the encoded value and mode 0600, and the terminal does not have it."""
    out = upkeep.folder / "value"
    done = run(upkeep, upkeep.push(value), "--out", str(out))
    assert (done.exit_code, out.read_bytes(), stat.S_IMODE(out.stat().st_mode)) == (0, written, 0o600)
    assert "raw" not in done.output


@pytest.mark.parametrize("kind", ["file", "link", "folder", "no folder"])
def test_a_place_that_cannot_take_it_opens_nothing(upkeep: Upkeep, kind: str) -> None:
    """A file that is there is never overwritten, a link not followed, and nothing was opened for it."""
    out = upkeep.folder / "value"
    if kind == "file":
        out.write_text("mine")
    elif kind == "link":
        out.symlink_to(upkeep.folder / "elsewhere")
    elif kind == "folder":
        out.mkdir()
    done = run(upkeep, upkeep.push(VALUE), "--out", str(out if kind != "no folder" else out / "below"))
    assert (done.exit_code, events(upkeep)) == (2, [])
    assert "the file cannot be written" in done.stderr
    assert not (upkeep.folder / "elsewhere").exists()
    assert kind != "file" or out.read_text() == "mine"


def test_bytes_are_not_shown(upkeep: Upkeep) -> None:
    """--show of what is no JSON says to name a file, and prints no byte of it."""
    done = run(upkeep, upkeep.push(b"canary"), "--show")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--out FILE" in done.stderr
    assert "canary" not in done.stderr


@pytest.mark.parametrize("reason", ["", "  \t", "\udcff"])
def test_without_a_reason_nothing_is_opened(upkeep: Upkeep, reason: str) -> None:
    """An empty reason, or one that no log can keep, opens nothing; without the option the command does not run."""
    at = upkeep.push(VALUE)
    assert run(upkeep, at, reason=reason).exit_code == 2
    assert events(upkeep) == []
    assert CliRunner().invoke(app, ["open", str(at)]).exit_code == 2


def test_without_the_access_log_nothing_is_given(upkeep: Upkeep) -> None:
    """Where the log takes nothing there is an error instead of the value; the file is not left behind."""
    at = upkeep.push(VALUE)
    upkeep.sink.full = True
    database = upkeep.table.database()
    opener = Opener(lambda value: value, services=key_service, stores=store, max_bytes=1 << 20)
    log = AccessLog([upkeep.sink], version="test")
    with pytest.raises(AuditError):
        break_glass(upkeep.policy, database, log, opener, at, operator="me", reason="why")
    database.close()
    (upkeep.folder / "log.jsonl").mkdir()
    done = run(upkeep, at, "--out", str(upkeep.folder / "value"), "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]) == (2, "AuditError")
    assert not (upkeep.folder / "value").exists()


def test_what_is_expired_opens_under_a_legal_hold_alone(upkeep: Upkeep) -> None:
    """Behind its retention an XCom is refused; --expired alone does not help; a hold and --expired together do."""
    at = push_old(upkeep, VALUE, hours=2)
    for words in ((), ("--expired",)):
        done = run(upkeep, at, *words)
        assert (done.exit_code, "it expired at" in done.stderr) == (1, True)
    upkeep.write_policy(HOLD)
    refused = run(upkeep, at)
    assert (refused.exit_code, "--expired" in refused.stderr) == (1, True)
    record = json.loads(run(upkeep, at, "--expired", "--show", "--json").stdout)
    assert (record["value"], record["legal_hold"]) == (VALUE, "case-7")
    *refusals, opened = events(upkeep)
    assert {(one["outcome"], one["error"]) for one in refusals} == {("refused", "ReferenceExpired")}
    assert (opened["outcome"], opened["rule"]) == ("ok", "legal_holds[0]")


@pytest.mark.parametrize("claimed", [False, True])
def test_an_exclusive_xcom_is_refused_and_stays_its_readers(upkeep: Upkeep, claimed: bool) -> None:
    """Claimed or not, an exclusive XCom is not opened, no claim is made, and its one reader reads it after it."""
    at = upkeep.push(exclusive("opensesame"))
    task = TaskTry(at.dag_id, at.run_id, "reader", -1, 1)

    def pull() -> Any:
        asked = Asked(at.dag_id, at.task_id, at.key, at.run_id, at.map_index)
        claimant = Claimant(at.dag_id, at.run_id, "reader", -1)
        row = Row(upkeep.table.value(at), asked)
        return upkeep.pipeline().pull([row], consumer=task, claimant=claimant)[0]

    if claimed:
        pull()
    done = run(upkeep, at, "--show")
    assert (done.exit_code, "it is exclusive" in done.stderr) == (1, True)
    assert "opensesame" not in done.output
    [event] = events(upkeep)
    assert (event["outcome"], event["error"], "opened_by" in event) == ("refused", "ClaimRefused", False)
    assert pull() == "opensesame"


def test_a_shredded_xcom_stays_closed(upkeep: Upkeep) -> None:
    """What was shredded is refused by name."""
    at = upkeep.push(exclusive("x"))
    upkeep.table.put(at, parse(upkeep.table.value(at)).without_keys("2026-01-01T00:00:00Z").dump())
    done = run(upkeep, at, "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]) == (1, "ReferenceShredded")


def plain(upkeep: Upkeep, at: Coordinate) -> None:
    """The row holds a plain value."""
    upkeep.table.put(at, "canary")


def moved(upkeep: Upkeep, at: Coordinate) -> None:
    """The row holds another row's reference."""
    upkeep.table.put(at, upkeep.table.value(upkeep.push(VALUE)))


def edited(upkeep: Upkeep, at: Coordinate) -> None:
    """The head was edited."""
    value = upkeep.table.value(at)
    value["head"]["created"] = "2026-01-01T00:00:00Z"
    upkeep.table.put(at, value)


def swapped(upkeep: Upkeep, at: Coordinate) -> None:
    """The payload was changed in the store."""
    [path] = (upkeep.folder / "store").rglob("*-*-*-*-*")
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def missing(upkeep: Upkeep, at: Coordinate) -> None:
    """The payload is gone."""
    upkeep.store().delete_many(upkeep.objects())


def restricted(upkeep: Upkeep, at: Coordinate) -> None:
    """The head has a restriction that this release does not know."""
    value = upkeep.table.value(at)
    value["head"]["readers"] = "somebody"
    upkeep.table.put(at, value)


@pytest.mark.parametrize(
    ("harm", "error", "outcome"),
    [
        (plain, "PlaintextRefused", "refused"),
        (moved, "CoordinateMismatch", "refused"),
        (edited, "HeadTampered", "refused"),
        (swapped, "PayloadTampered", "refused"),
        (missing, "ObjectMissing", "failed"),
        (restricted, "ReferenceVersionUnknown", "refused"),
    ],
)
def test_what_is_not_as_it_was_sealed_does_not_open(upkeep: Upkeep, harm: Any, error: str, outcome: str) -> None:
    """Each harm has its named error, exit code 1 and an event; no file is left of the one that was asked for."""
    at = upkeep.push(VALUE)
    harm(upkeep, at)
    done = run(upkeep, at, "--out", str(upkeep.folder / "value"), "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]) == (1, error)
    assert "canary" not in done.output
    assert not (upkeep.folder / "value").exists()
    [event] = events(upkeep)
    assert (event["outcome"], event["error"], event["asked"]["key"]) == (outcome, error, at.key)


@pytest.mark.parametrize("what", ["orders", "orders/run", "{}"])
def test_what_is_no_coordinate_could_not_run(upkeep: Upkeep, what: str) -> None:
    """A text of another form is refused before anything is asked."""
    done = run(upkeep, what)
    assert (done.exit_code, events(upkeep)) == (2, [])


def test_an_xcom_that_is_not_there_could_not_be_opened(upkeep: Upkeep) -> None:
    """A coordinate without a row ends with 2, and the attempt is in the log."""
    upkeep.push(VALUE, coordinate(map_index=1))
    done = run(upkeep, replace(coordinate(), map_index=2))
    assert (done.exit_code, "there is no such XCom" in done.stderr) == (2, True)
    [event] = events(upkeep)
    assert (event["outcome"], event["asked"]["map_index"]) == ("failed", 2)


def test_a_long_reference_is_read_whole(upkeep: Upkeep) -> None:
    """A row that is longer than what maintenance reads of each row opens as well."""
    ids = [f"task_{n:05}" for n in range(20_000)]
    at = upkeep.push({"followed": ids}, coordinate(key="skipmixin_key"))
    assert json.loads(run(upkeep, at, "--show").stdout) == {"followed": ids}

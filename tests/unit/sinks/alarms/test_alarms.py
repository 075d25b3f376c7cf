"""Alarms: what raises them, once, and how they are told; a local listener stands for the webhook."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.core.access_policy.alarms import Alarm, Notify
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import TaskTry
from secure_xcom.core.event import Event
from secure_xcom.core.policy_errors import PolicyInvalid
from secure_xcom.ops.audit_trail.alarm_windows import Evaluator, State
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.sinks.alarms.notifiers import AlarmSink, notify
from secure_xcom.sinks.alarms.rules import Raised
from tests.support import alarm_callbacks
from tests.support.access_logs import START, chain, write
from tests.support.doubles import MemorySink
from tests.support.world import coordinate

LOUD = (Notify(log="warning"),)


class Hook(BaseHTTPRequestHandler):
    """Takes what is posted; answers as the server is told to."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.taken.append((self.path, dict(self.headers), json.loads(body)))
        self.send_response(server.status)
        if server.status == 302:
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's own name
        """Say nothing."""


@pytest.fixture
def hook() -> Iterator[Any]:
    """A listener on loopback; `taken` has what it got, `status` is what it answers."""
    server: Any = HTTPServer(("127.0.0.1", 0), Hook)
    server.taken, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def url(hook: Any, path: str = "/hook") -> str:
    """Where the listener listens."""
    return f"http://127.0.0.1:{hook.server_port}{path}"


def take(alarms: Sequence[Alarm], lines: Sequence[bytes], state: State) -> list[Raised]:
    """One look at these lines."""
    evaluator = Evaluator(alarms, state)
    found = [one for line in lines for one in evaluator.take(json.loads(line))]
    found += evaluator.bursts()
    state.since = "2026-11-22T12:00:00.000000Z"
    return found


def refusals(number: int, count: int, *, step: float, start: datetime = START, **fields: Any) -> list[bytes]:
    """So many refused pulls of one process."""
    return chain(
        number, count, start=start, step=step, ended=False, outcome="refused", error="AccessRefused", **fields
    )


def test_a_burst_of_refusals_is_one_alarm(tmp_path: Path) -> None:
    """More refusals than allowed within the time sound once, across looks, and again after a quiet time."""
    alarm = Alarm(name="many", when="refusals", over=4, within="1m", notify=LOUD)
    state = State()
    assert take([alarm], refusals(1, 4, step=1), state) == []
    state.save(tmp_path / "state.json")
    state = State.load(tmp_path / "state.json")
    (found,) = take([alarm], refusals(2, 5, step=1, start=START + timedelta(seconds=10)), state)
    assert found.text == "5 refusals within 1m, the last of orders/manual__1/load try 1"
    assert len(found.events) == 5
    assert take([alarm], refusals(3, 3, step=1, start=START + timedelta(seconds=20)), state) == []
    later = START + timedelta(minutes=5)
    assert len(take([alarm], refusals(4, 5, step=1, start=later), state)) == 1
    slow = take([alarm], refusals(5, 50, step=20, start=START + timedelta(hours=1)), state)
    assert slow == []


def test_each_refusal_alone_is_an_alarm_again() -> None:
    """With `over: 0` a refusal after a quiet time sounds, though nothing but refusals came in between."""
    alarm = Alarm(name="any", when="refusals", within="1m", notify=LOUD)
    state = State()
    for hours in range(3):
        assert len(take([alarm], refusals(hours, 2, step=1, start=START + timedelta(hours=hours)), state)) == 1


def test_a_burst_over_several_hosts_is_one_alarm() -> None:
    """Hosts have files of their own, which are read one by one: refusals count by their time all the same."""
    alarm = Alarm(name="many", when="refusals", over=4, within="1m", notify=LOUD)
    state = State()
    one = [*refusals(1, 3, step=1), *refusals(2, 1, step=1, start=START + timedelta(hours=1))]
    (found,) = take([alarm], [*one, *refusals(3, 3, step=1)], state)
    assert (found.time, found.text.split(",")[0]) == ("2026-11-22T10:00:02.000000Z", "5 refusals within 1m")
    apart = [refusals(5 + day, 1, step=1, start=START + timedelta(days=9 - day)) for day in range(7)]
    assert take([alarm], [line for lines in apart for line in lines], State()) == []


def test_rules_can_be_limited_to_compartments() -> None:
    """Refusals of other compartments do not count."""
    alarm = Alarm(name="many", when="refusals", over=0, compartments=("sales",), notify=LOUD)
    assert take([alarm], refusals(1, 3, step=1), State()) == []
    assert len(take([alarm], refusals(2, 3, step=1, compartment="sales"), State())) == 1


def test_events_are_looked_at_once() -> None:
    """The same lines, read again at the next look, raise nothing again."""
    alarm = Alarm(name="plain", when="plaintext_seen", notify=LOUD)
    state, lines = State(), chain(1, 3, action="plaintext_seen", ended=False)
    assert len(take([alarm], lines[:2], state)) == 2
    assert len(take([alarm], lines, state)) == 1


def test_first_consumers_are_learned_and_then_told() -> None:
    """The first look learns who reads from whom; who comes later is told once."""
    alarm = Alarm(name="new", when="first_consumer", notify=LOUD)
    state = State()
    curious = {"dag_id": "curious", "run_id": "r", "task_id": "peek", "map_index": -1, "try_number": 1}
    assert take([alarm], chain(1), state) == []
    assert take([alarm], chain(2), state) == []
    (found,) = take([alarm], chain(3, consumer=curious), state)
    assert found.text == "curious/peek read from orders for the first time"
    assert take([alarm], chain(4, consumer=curious), state) == []
    other = {**curious, "task_id": "other"}
    assert take([alarm], chain(5, consumer=other, outcome="refused"), state) == []


def test_second_claims_and_plaintext_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A refused claim and a row without a reference raise their alarms; the log line says who and what."""
    claimed = Alarm(name="twice", when="second_claim", notify=LOUD)
    plain = Alarm(name="plain", when="plaintext_seen", notify=(Notify(log="error"),))
    lines = [
        *chain(1, 2, action="claim", outcome="refused", error="ClaimRefused", ended=False),
        *chain(2, 1, action="claim", ended=False),
        *chain(3, 1, action="plaintext_seen", outcome="refused", ended=False),
    ]
    found = take([claimed, plain], lines, State())
    assert [one.alarm for one in found] == ["twice", "twice", "plain"]
    assert "orders/manual__1/extract:return_value was claimed already" in found[0].text
    with caplog.at_level(logging.INFO, "secure_xcom.alarms"):
        assert notify(plain, found[2]) == []
    (line,) = caplog.records
    assert (line.levelno, "has no reference" in line.getMessage()) == (logging.ERROR, True)


def test_webhooks_are_posted_to(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alarm is posted as JSON, with the connection's password as bearer token and its host as URL."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_ALARM_HOOK",
        json.dumps({"conn_type": "http", "host": url(hook, "/secret-path"), "password": "canary-token"}),
    )
    ways = (
        Notify(webhook=url(hook)),
        Notify(webhook=url(hook), connection="alarm_hook"),
        Notify(connection="alarm_hook"),
    )
    alarm = Alarm(name="plain", when="plaintext_seen", notify=ways)
    found = Raised("plain", "plaintext_seen", "2026-11-22T10:00:00.000000Z", "text", ("id",), "finance")
    assert notify(alarm, found) == []
    (_, first, body), (_, second, _), (path, third, _) = hook.taken
    assert body == found.as_json()
    assert (body["secure_xcom_alarm"], body["events"], body["compartment"]) == (1, ["id"], "finance")
    assert "Authorization" not in first
    assert second["Authorization"] == third["Authorization"] == "Bearer canary-token"
    assert path == "/secret-path"


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_does_not_take_it_is_said(hook: Any, status: int) -> None:
    """No redirect is followed, and the error shows the host alone, since a path may be a secret."""
    hook.status = status
    alarm = Alarm(name="x", when="tampering", notify=(Notify(webhook=url(hook, "/secret-path")), *LOUD))
    (error,) = notify(alarm, Raised("x", "tampering", "", "text"))
    assert str(status) in error.what
    assert "secret-path" not in str(error)
    assert len(hook.taken) == 1


def test_a_webhook_without_a_host_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in brackets in the connection is no IPv6 address."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_ALARM_HOOK", json.dumps({"conn_type": "http", "host": "https://[/secret-path"})
    )
    alarm = Alarm(name="x", when="tampering", notify=(Notify(connection="alarm_hook"), *LOUD))
    (error,) = notify(alarm, Raised("x", "tampering", "", "text"))
    assert "not an http or https URL" in error.what
    assert "secret-path" not in str(error)


def test_callbacks_are_called(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function gets the alarm as a dict; one that fails or is not there is said without its text."""
    names = (
        "tests.support.alarm_callbacks:told",
        "tests.support.alarm_callbacks:broken",
        "nowhere.at_all:function",
    )
    alarm = Alarm(name="x", when="tampering", notify=tuple(Notify(callback=name) for name in names))
    found = Raised("x", "tampering", "", "telling text")
    errors = notify(alarm, found)
    assert alarm_callbacks.TOLD[-1] == found.as_json()
    assert [error.what for error in errors] == [
        "the callback failed (RuntimeError)",
        "the callback failed (ModuleNotFoundError)",
    ]
    assert "telling text" not in str(errors[0])


def test_what_an_operator_opens_is_told() -> None:
    """A break-glass read, and one that was refused, raise an alarm each; a command that opens many raises one."""
    alarm = Alarm(name="glass", when="opened", notify=LOUD)
    by_hand: dict[str, Any] = {"action": "open", "operator": "alice", "ended": False}
    lines = [
        *chain(1, 3),
        *chain(2, 1, **by_hand),
        *chain(3, 1, outcome="refused", error="XComExpired", **by_hand),
        *chain(4, 50, **by_hand),
        *reveals(5, 2, rule="here", operator="bob"),
        *reveals(6, 2),
    ]
    found = take([alarm], lines, State())
    assert [one.text.split(" orders/")[0] for one in found] == [
        "alice opened",
        "alice tried to open",
        "alice opened",
        "bob opened",
    ]
    assert found[0].text == "alice opened orders/manual__1/extract:return_value by hand"


def reveals(number: int, count: int, **fields: Any) -> list[bytes]:
    """So many reveals, a second apart."""
    return chain(number, count, action="reveal", ended=False, **fields)


def test_the_first_reveal_by_a_person_is_told() -> None:
    """The first look learns who reveals what; who comes later is told once for each compartment."""
    alarm = Alarm(name="new", when="first_reveal", notify=LOUD)
    state = State()
    assert take([alarm], reveals(1, 1), state) == []
    (found,) = take([alarm], [*reveals(2, 2), *reveals(3, 2, operator="mia")], state)
    assert found.text == "mia revealed a value of finance for the first time"
    assert take([alarm], reveals(4, 1, operator="eva", outcome="refused", error="AccessRefused"), state) == []
    (elsewhere,) = take([alarm], reveals(5, 2, operator="mia", compartment="sales"), state)
    assert elsewhere.text == "mia revealed a value of sales for the first time"


def test_a_state_of_before_knows_nobody_who_revealed(tmp_path: Path) -> None:
    """A state that a release without reveals wrote is read, and the first reveal after it is told."""
    alarm = Alarm(name="new", when="first_reveal", notify=LOUD)
    State(since="2026-11-22T09:00:00.000000Z").save(tmp_path / "state.json")
    record = json.loads((tmp_path / "state.json").read_text())
    del record["viewers"]
    (tmp_path / "state.json").write_text(json.dumps(record))
    state = State.load(tmp_path / "state.json")
    assert len(take([alarm], reveals(1, 3), state)) == 1
    state.save(tmp_path / "state.json")
    assert State.load(tmp_path / "state.json").viewers == {("finance", "ana")}


def test_many_reveals_are_counted_by_person(tmp_path: Path) -> None:
    """One person's reveals raise one alarm across looks; two people below the limit raise none."""
    alarm = Alarm(name="many", when="reveals", over=4, within="10m", notify=LOUD)
    state = State()
    assert take([alarm], [*reveals(1, 4), *reveals(2, 4, operator="mia")], state) == []
    state.save(tmp_path / "state.json")
    state = State.load(tmp_path / "state.json")
    (found,) = take([alarm], reveals(3, 3, start=START + timedelta(minutes=1)), state)
    assert found.text == "5 reveals within 10m by ana"
    assert len(found.events) == 5
    refused = reveals(4, 9, operator="mia", outcome="refused", error="AccessRefused")
    assert take([alarm], refused, state) == []


def test_a_reveal_of_a_secret_is_told() -> None:
    """A reveal whose event says that the value is a secret raises an alarm each time."""
    alarm = Alarm(name="secret", when="sensitive_reveal", notify=LOUD)
    lines = [*reveals(1, 2), *reveals(2, 1, sensitive=True), *reveals(3, 1, sensitive=True, outcome="refused")]
    (found,) = take([alarm], lines, State())
    assert found.text == "ana revealed orders/manual__1/extract:return_value, which holds a secret"


def test_the_service_tells_of_a_secret_at_once(hook: Any) -> None:
    """A rule that is told at once is told as soon as its event is written."""
    alarm = Alarm(name="secret", when="sensitive_reveal", at_once=True, notify=(Notify(webhook=url(hook)),))
    log = AccessLog([MemorySink(), AlarmSink([alarm])], version="test")
    for sensitive in (False, True):
        log.record([Event("reveal", "ok", coordinate=coordinate(), operator="ana", sensitive=sensitive)])
    ((_, _, body),) = hook.taken
    assert body["when"] == "sensitive_reveal"


def test_workers_tell_at_once(hook: Any) -> None:
    """A rule that is told at once is told when its event is written, and the event stays written."""
    rules = [
        Alarm(name="plain", when="plaintext_seen", at_once=True, notify=(Notify(webhook=url(hook)),)),
        Alarm(name="later", when="second_claim", notify=(Notify(webhook=url(hook)),)),
    ]
    sink = MemorySink()
    log = AccessLog([sink], version="test", optional=[AlarmSink(rules)])
    task = TaskTry("orders", "manual__1", "load", -1, 1)
    log.record([Event("plaintext_seen", "ok", coordinate=coordinate(), task=task)])
    log.record([Event("claim", "refused", coordinate=coordinate(), task=task)])
    assert [body["alarm"] for _, _, body in hook.taken] == ["plain"]
    hook.status = 500
    log.record([Event("plaintext_seen", "ok", coordinate=coordinate(), task=task)])
    assert len(hook.taken) == 2
    # What is told at once is not told again by the command.
    lines = chain(1, 2, action="plaintext_seen", ended=False)
    assert take(rules, lines, State()) == []


POLICY = """\
version: 1
compartments:
  - name: finance
    dags: [orders]
    key_uris: ["local:///nowhere/keyring.json"]
    store_uri: "file:///nowhere"
alarms:
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  - {name: a, when: refusals, at_once: true, notify: [{log: error}]}", "can be at_once"),
        ("  - {name: a, when: refusals, compartments: [nobody], notify: [{log: error}]}", "nobody"),
        ("  - {name: a, when: refusals, notify: [{log: error, callback: 'a:b'}]}", "one of log, webhook"),
        ("  - {name: a, when: refusals, notify: [{}]}", "one of log, webhook"),
        ("  - {name: a, when: refusals, notify: []}", "too few"),
        ("  - {name: a, when: never, notify: [{log: error}]}", "when"),
        ("  - {name: a, when: refusals, notify: [{webhook: 'ftp://x'}]}", "webhook"),
        ("  - {name: a, when: refusals, notify: [{callback: 'os.system'}]}", "callback"),
        (2 * "  - {name: a, when: tampering, notify: [{log: error}]}\n", "'a' is used twice"),
    ],
)
def test_wrong_rules_are_refused(text: str, said: str) -> None:
    """A rule that could never be told, or not as it says, is refused with its line."""
    with pytest.raises(PolicyInvalid, match=said) as caught:
        AccessPolicy.parse((POLICY + text).encode(), where="policy.yaml")
    assert f"policy.yaml, line {9 if 'twice' in said else 8}" in caught.value.where


def test_rules_to_tell_at_once_are_known() -> None:
    """A policy knows which of its rules a worker tells itself; the others are the command's."""
    rules = (
        "  - {name: now, when: second_claim, at_once: true, notify: [{log: error}]}\n"
        "  - {name: later, when: second_claim, notify: [{log: error}]}\n"
    )
    policy = AccessPolicy.parse((POLICY + rules).encode(), where="policy.yaml")
    assert [alarm.name for alarm in policy.alarms_at_once] == ["now"]


def test_the_command_tells_what_is_new(hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command learns, then tells once, remembers; verify and reconcile tell their own alarms."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW", "SECURE_XCOM"))]:
        monkeypatch.delenv(name)
    rules = (
        f"  - {{name: new, when: first_consumer, notify: [{{webhook: '{url(hook)}'}}]}}\n"
        f"  - {{name: changed, when: tampering, notify: [{{webhook: '{url(hook)}'}}]}}\n"
    )
    (tmp_path / "policy.yaml").write_text(POLICY + rules)
    path = tmp_path / "access-log.jsonl"
    (tmp_path / "airflow.cfg").write_text(
        f"[secure_xcom]\naccess_policy = {tmp_path}/policy.yaml\naudit_sinks = {path.as_uri()}\n"
    )

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["audit", *words, "--config", str(tmp_path / "airflow.cfg"), "--json"])

    state = ["--state", str(tmp_path / "kept/alarms.json")]
    recent = datetime.now(timezone.utc) - timedelta(hours=1)
    write(path, chain(1, start=recent))
    assert run("alarms", *state).exit_code == 0
    curious = {"dag_id": "curious", "run_id": "r", "task_id": "peek", "map_index": -1, "try_number": 1}
    lines = [*chain(1, start=recent), *chain(2, start=recent, consumer=curious)]
    write(path, lines)
    dry = run("alarms", *state, "--dry-run")
    assert (dry.exit_code, hook.taken) == (1, [])
    told = run("alarms", *state)
    assert told.exit_code == 1
    assert [one["text"] for one in json.loads(told.stdout)["alarms"]] == [
        "curious/peek read from orders for the first time"
    ]
    assert len(hook.taken) == 1
    assert run("alarms", *state).exit_code == 0
    write(path, [lines[0], *lines[2:]])
    assert run("verify", "--chains-only").exit_code == 1
    assert hook.taken[-1][2]["when"] == "tampering"
    assert "removed: missing before this line" in hook.taken[-1][2]["text"]
    hook.status = 500
    write(path, [*lines, *chain(3, start=recent, consumer={**curious, "task_id": "other"})])
    failed = run("alarms", *state)
    assert failed.exit_code == 2
    assert "answered 500" in json.loads(failed.stdout)["not_told"][0]["what"]

"""Events, their lines, their schema and their table."""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as some

from secure_xcom.core.attempt import Attempt
from secure_xcom.core.canonical_json import canonical_json
from secure_xcom.core.coordinate import Asked, Coordinate, TaskTry
from secure_xcom.core.errors import AuditError
from secure_xcom.core.event import Action, Event, KeyUse, Outcome
from secure_xcom.core.event_chain import QUIET_SECONDS, Chain
from secure_xcom.core.event_fields import FIELDS, schema_of
from secure_xcom.keys import version_of
from secure_xcom.ops.audit_trail import event_schema
from secure_xcom.ops.audit_trail.search.query import PATHS
from secure_xcom.sinks import hashed_ids, python_logging
from secure_xcom.sinks.access_log import AccessLog
from tests.support.audit_reading import SCHEMA, read_chain, read_chains
from tests.support.doubles import MemorySink
from tests.support.world import coordinate

ROOT = Path(__file__).parents[3]
TRY = TaskTry("orders", "run", "load", -1, 1)
FULL = Event(
    "pull",
    "failed",
    coordinate=coordinate(),
    task=TRY,
    asked=Asked("orders", "extract", "return_value"),
    compartment="finance",
    rule="own",
    error="KeyNotFound",
    keys=(KeyUse("vault://c/transit/keys/k", 3), KeyUse("aws-kms://c/alias/k")),
    opened_by="vault://c/transit/keys/k",
    object="s3://b/p",
    size=1,
    codec="json",
    cache_hit=True,
    policy="0" * 64,
    policy_before="1" * 64,
    operator="alice",
    reason="ticket",
    sensitive=True,
    missed={"s3://b": 2},
)

_TEXT = some.text(some.characters(exclude_categories=["Cs"]))
_JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**53) + 1, 2**53 - 1) | _TEXT,
    lambda inner: some.lists(inner) | some.dictionaries(_TEXT, inner),
)


@given(some.dictionaries(_TEXT, _JSON))
@example({"\U00010000": "", "\ue000": [{"\uffff": 1, "\U0010ffff": 2}]})
def test_lines_are_canonical(record: dict[str, Any]) -> None:
    """What the product's encoder writes is RFC 8785's canonical JSON, without a newline."""
    assert canonical_json(record) == rfc8785.dumps(record)
    assert b"\n" not in canonical_json(record)


def written(*events: Event) -> list[bytes]:
    """The lines of these events."""
    sink = MemorySink()
    log = AccessLog([sink], version="1.2.3")
    log.record(events)
    return [line.data for line in sink.lines]


def test_an_event_with_everything_holds_to_the_schema() -> None:
    """Every field of a written event is declared, and nothing else is declared."""
    full, end = read_chain(written(FULL, Event("push", "ok", task=TRY)))
    assert {**full, **end}.keys() == SCHEMA["properties"].keys() == FIELDS.keys()
    assert {field.name for field in fields(Event)} - {"coordinate", "task"} <= FIELDS.keys()


def test_the_properties_of_an_object_are_those_of_its_class() -> None:
    """A coordinate, a question and a try of a task are declared with the attributes that they are written with."""
    attempt = Attempt("019be2a1-0000-7000-8000-000000000001", "019be2a1-0000-7000-8000-000000000002", 4)
    event = Event("push", "ok", coordinate=replace(coordinate(), attempt=attempt))
    assert list(FIELDS["producer"].schema["properties"]) == [
        *(field.name for field in fields(Coordinate)),
        "iteration",
    ]
    assert event.fields()["producer"] == {
        **Event("push", "ok", coordinate=coordinate()).fields()["producer"],
        "attempt": attempt.task_instance_id,
        "iteration": 4,
    }
    assert list(FIELDS["task"].schema["properties"]) == [field.name for field in fields(TaskTry)]
    assert FIELDS["task"].schema == FIELDS["consumer"].schema
    assert list(FIELDS["keys"].schema["items"]["properties"]) == list(KeyUse._fields)


@pytest.mark.parametrize("path", event_schema.STORED, ids=lambda path: path.parent.name)
def test_the_shipped_schema_is_the_declaration(path: Path) -> None:
    """The schema's file and its copy at the former path are what the declaration generates."""
    assert path.read_text(encoding="utf-8") == event_schema.text()


def test_the_schema_lists_the_actions_and_outcomes() -> None:
    """The schema's lists are those of the code, and the version is the code's."""
    assert SCHEMA["properties"]["action"]["enum"] == list(get_args(Action))
    assert SCHEMA["properties"]["outcome"]["enum"] == list(get_args(Outcome))


def test_whoever_selects_fields_names_declared_ones() -> None:
    """Hashed ids, a log record's attributes and a query's parts are fields or properties of the declaration."""
    properties = {name for field in FIELDS.values() for name in field.schema.get("properties", ())}
    assert set(hashed_ids.NAMES) <= FIELDS.keys() | properties
    assert set(python_logging.ATTRIBUTES) <= FIELDS.keys()
    assert all(schema_of(path) for path in PATHS)


def test_the_table_of_the_documentation_is_the_schema() -> None:
    """docs/reference/access-log.md has one row for each name of the schema, with its words, in its order."""
    text = (ROOT / "docs" / "reference" / "access-log.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| (yes)? ?\| [\d.]+ \| (.*) \|$", text, re.MULTILINE)
    assert rows == [
        (name, "yes" if name in SCHEMA["required"] else "", schema["description"])
        for name, schema in SCHEMA["properties"].items()
    ]


def test_a_newline_in_an_id_forges_no_line(tmp_path: Path) -> None:
    """Ids with line ends and separators stay within their own event's line."""
    names = ["a\nb", "a\r\nb", "a\u2028b", '"}\n{"']
    log = AccessLog.open([(tmp_path / "log.jsonl").as_uri()], version="1")
    log.record([Event("push", "ok", coordinate=coordinate(run_id=name)) for name in names])
    [events] = read_chains((tmp_path / "log.jsonl").read_bytes()).values()
    assert [event["producer"]["run_id"] for event in events] == names


@pytest.mark.parametrize(
    ("wrapped", "version"),
    [
        ("vault:v12:abc", 12),
        ("local:v1:abc", 1),
        ("aws-kms:arn:aws:kms:eu:1:key/v3:abc", None),
        ("vault:v0:a", None),
    ],
)
def test_the_version_of_a_wrap(wrapped: str, version: int | None) -> None:
    """The key's version is read where the service numbers its versions, and nowhere else."""
    assert version_of(wrapped) == version


def test_a_chain_ends_once_and_another_begins() -> None:
    """An orderly end closes the chain with chain_end; what comes after begins a chain of its own."""
    sink = MemorySink()
    log = AccessLog([sink], version="1")
    log.close()
    log.record([Event("push", "ok")])
    log.close()
    log.close()
    log.record([Event("pull", "ok")])
    assert [record["action"] for record in sink.records] == ["push", "chain_end", "pull"]
    assert [record["sequence"] for record in sink.records] == [0, 1, 0]
    assert len({record["chain"] for record in sink.records}) == 2


def test_a_clock_that_goes_back_changes_no_order() -> None:
    """The sequence is the order, whatever the clock says; times are as the clock had them."""
    hours = iter((12, 11, 13))
    sink = MemorySink()
    log = AccessLog([sink], version="1", now=lambda: datetime(2026, 1, 1, next(hours), tzinfo=timezone.utc))
    for action in ("push", "pull", "purge"):
        log.record([Event(action, "ok")])
    events = read_chain(line.data for line in sink.lines)
    assert [event["time"][11:13] for event in events] == ["12", "11", "13"]


def test_times_are_utc() -> None:
    """A time is the clock's, within a minute of now, with microseconds and a Z."""
    [event] = read_chain(written(FULL))
    then = datetime.strptime(event["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    assert abs(datetime.now(timezone.utc) - then) < timedelta(minutes=1)


def test_a_forked_child_has_its_own_chain(tmp_path: Path) -> None:
    """Parent and child never share a chain, whoever writes first."""
    log = AccessLog.open([(tmp_path / "log.jsonl").as_uri()], version="1")
    log.record([Event("push", "ok")])
    pid = os.fork()
    if pid == 0:
        try:
            log.record([Event("pull", "ok")])
            log.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    log.record([Event("push", "ok")])
    log.close()
    chains = read_chains((tmp_path / "log.jsonl").read_bytes())
    assert sorted([event["action"] for event in events] for events in chains.values()) == [
        ["pull", "chain_end"],
        ["push", "push", "chain_end"],
    ]
    assert {events[0]["pid"] for events in chains.values()} == {os.getpid(), pid}


def test_a_required_sink_that_comes_back_has_no_hole() -> None:
    """Lines that a sink did not take are given to it before the next ones."""
    first, second = MemorySink(), MemorySink()
    log = AccessLog([first, second], version="1")
    log.record([Event("push", "ok")])
    second.full = True
    with pytest.raises(AuditError):
        log.record([Event("pull", "ok")])
    second.full = False
    log.record([Event("purge", "ok")])
    log.close()
    assert first.records == second.records
    assert len(read_chain(line.data for line in second.lines)) == 4


def test_a_sink_that_stays_down_keeps_no_more_than_its_share() -> None:
    """A process that goes on asking makes no more events when a thousand of them are waiting."""
    sink, other = MemorySink(), MemorySink()
    log = AccessLog([sink, other], version="1")
    sink.full = True
    for _ in range(1100):
        with pytest.raises(AuditError):
            log.record([Event("pull", "ok")])
    # A thousand pulls, and the end of their chain.
    assert len(other.records) == 1001
    sink.full = False
    log.record([Event("pull", "ok")])
    chains = read_chains(b"".join(line.data + b"\n" for line in sink.lines))
    assert [len(chain) for chain in chains.values()] == [1001, 1]


def test_an_optional_sink_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its failure is logged once, and the chain's end says how many events it missed."""
    required, optional = MemorySink(), MemorySink()
    log = AccessLog([required], version="1", optional=[optional])
    optional.full = True
    log.record([Event("push", "ok")])
    log.record([Event("push", "ok"), Event("pull", "ok")])
    optional.full = False
    log.close()
    assert required.records[-1]["missed"] == [{"sink": optional.uri, "events": 3}]
    assert len(required.records) == 4
    assert caplog.text.count("optional sink misses") == 1


def test_a_handler_within_a_write_is_refused() -> None:
    """A signal's handler that pulls while an event is being written is told so, and the event goes its way."""
    inner: list[Exception] = []

    class Interrupted(MemorySink):
        def write(self, lines: Any) -> None:
            try:
                log.record([Event("pull", "ok")])
            except AuditError as error:
                inner.append(error)
            super().write(lines)

    sink = Interrupted()
    log = AccessLog([sink], version="1")
    log.record([Event("push", "ok")])
    assert len(inner) == 1
    assert [record["action"] for record in sink.records] == ["push"]


def test_a_write_that_was_broken_off_ends_its_chain() -> None:
    """After a time-out within a write nothing is written behind what may be missing: another chain begins."""

    class TimedOut(MemorySink):
        def write(self, lines: Any) -> None:
            if self.full:
                raise TimeoutError
            super().write(lines)

    sink = TimedOut()
    log = AccessLog([sink], version="1")
    log.record([Event("push", "ok")])
    sink.full = True
    with pytest.raises(TimeoutError):
        log.record([Event("pull", "ok")])
    sink.full = False
    log.record([Event("purge", "ok")])
    assert [(record["action"], record["sequence"]) for record in sink.records] == [("push", 0), ("purge", 0)]
    assert json.loads(sink.lines[1].data)["previous"] == "0" * 64


class Kind(str, Enum):
    """An id that is an enumeration's."""

    NIGHTLY = "nightly"


class Text(str):
    """A string of another type."""


def test_ids_of_other_types_are_written_as_text() -> None:
    """A subclass of a string is written as the text that it is, and a lone surrogate is refused."""
    assert canonical_json({"b": Text("x\n"), "a": Kind.NIGHTLY, "\ue000": 1, "\U00010000": Text("y")}) == (
        b'{"a":"nightly","b":"x\\n",' + '"\U00010000":"y","\ue000":1}'.encode()
    )
    with pytest.raises(UnicodeEncodeError):
        canonical_json({"id": "\ud800"})


def test_a_chain_begins_open() -> None:
    """Only its last event ends it; after five minutes without one it counts as interrupted."""
    chain = Chain()
    assert not chain.ended
    chain.add({"action": "push"})
    assert not chain.ended
    chain.add({"action": "chain_end"})
    assert chain.ended
    assert QUIET_SECONDS == 300

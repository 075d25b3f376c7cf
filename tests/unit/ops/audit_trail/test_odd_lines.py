"""Lines that somebody else wrote into the access log: none of them may stop whoever reads it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import secure_xcom.core
from secure_xcom.cli import app
from secure_xcom.core.access_policy.alarms import Alarm, Notify, When
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.ops.audit_trail import evaluate_alarms
from secure_xcom.ops.audit_trail.alarm_windows import State
from secure_xcom.ops.audit_trail.entries import event_of
from secure_xcom.ops.audit_trail.read import source
from secure_xcom.ops.audit_trail.reconcile.expected_uses import transit_keys, uses
from secure_xcom.ops.audit_trail.search.export import FORMATS, export
from secure_xcom.ops.audit_trail.search.query import Query
from secure_xcom.ops.audit_trail.search.scan import Scan
from secure_xcom.ops.audit_trail.verify import verify
from tests.support.access_logs import START, chain, text, write
from tests.support.stopped_clock import stopped

ODD: tuple[Any, ...] = (
    None, True, -1, 10**30, 1.5, "\ud800", [], ["x"], {"uri": 1}, {"dag_id": ["x"]}, {"map_index": "q"},
    [{"uri": 5}],
)  # fmt: skip
WATCHED: tuple[When, ...] = (
    "refusals", "second_claim", "first_consumer", "plaintext_seen", "opened", "first_reveal", "reveals",
    "sensitive_reveal",
)  # fmt: skip
RULES = [Alarm(name=when.replace("_", "-"), when=when, notify=(Notify(log="info"),)) for when in WATCHED]


def odd_lines() -> Iterator[bytes]:
    """Events with one field of another kind, of every action that something looks at."""
    plain = json.loads(chain(2, 2)[0])
    plain |= {"asked": {"dag_id": "orders"}, "missed": [{"sink": "file:///x", "events": 1}]}
    for number, field in enumerate(sorted({*plain, "operator", "rule"})):
        action = ("pull", "claim", "plaintext_seen", "open")[number % 4]
        for odd in ODD:
            yield dumped({**plain, "action": action, "outcome": "refused", field: odd})
            yield dumped({**plain, "action": "reveal", "sensitive": True, "operator": "ana", field: odd})
    for part, field in (("producer", "map_index"), ("producer", "dag_id"), ("consumer", "try_number")):
        for odd in ODD:
            made = copy.deepcopy(plain)
            made[part][field] = odd
            yield dumped(made)


def dumped(record: dict[str, Any]) -> bytes:
    """A line, as whoever forges one would write it."""
    return json.dumps(record, separators=(",", ":"), sort_keys=True).encode()


def test_every_field_of_the_schema_has_its_kind() -> None:
    """Whatever the event's schema describes, a value of no kind of it makes the line none."""
    schema = json.loads((Path(secure_xcom.core.__file__).parent / "event.schema.json").read_text())
    plain = json.loads(chain(1)[0])
    assert event_of(dumped(plain)) == plain
    assert [name for name in schema["properties"] if event_of(dumped({**plain, name: 1.5})) is not None] == []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with six events, and many lines that look like events behind the third."""
    lines = chain(1)
    write(tmp_path / "access-log.jsonl", [*lines[:3], *odd_lines(), *lines[3:]])
    return tmp_path / "access-log.jsonl"


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_leaves_them_out_and_counts_them(path: Path, tmp_path: Path, form: str) -> None:
    """What is no event by its fields' kinds is not exported, in no format, and is counted as no event."""
    scan = Scan([source(path.as_uri())], Query())
    count = export(scan.hits(), form, tmp_path / f"out.{form}")
    events = [one for one in map(event_of, path.read_bytes().splitlines()) if one is not None]
    assert (count, scan.unread) == (len(events), scan.lines - len(events))
    assert scan.unread > 200


def test_alarms_and_reconcile_pass_over_them(path: Path, tmp_path: Path) -> None:
    """Alarms of the events behind them are told, and keys and uses are read."""
    state = State(since=text(START))
    state.save(tmp_path / "state.json")
    with stopped(START + timedelta(hours=1)):
        evaluate_alarms.evaluate(RULES, [source(path.as_uri())], tmp_path / "state.json")
    assert State.load(tmp_path / "state.json").chains[json.loads(chain(1)[0])["chain"]][0] == 6
    assert len(uses([source(path.as_uri())], {"vault": str}, 0, 9e9)[0]) >= 5
    assert "transit/xcom-finance" in transit_keys([source(path.as_uri())], [])


@pytest.mark.parametrize("command", ["tail", "search"])
def test_tail_and_search_show_the_others(path: Path, command: str) -> None:
    """The events before and behind them are shown."""
    result = CliRunner().invoke(app, ["audit", command, "--sink", path.as_uri(), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(chain(1)[-1])["id"] in result.stdout


def test_verify_names_their_chain(path: Path) -> None:
    """Lines that do not continue their chain are told as what they are, and the sound chain is none of them."""
    found = verify([source(path.as_uri())], None).found
    assert {one.details["chain"] for one in found if one.status == "error"} - {None} != set()
    assert json.loads(chain(1)[0])["chain"] not in {one.details["chain"] for one in found}


@pytest.mark.parametrize("state", ["[" * 100_000, '{"since": "", "chains": {"c": [Infinity, ""]}}'])
def test_an_odd_state_of_the_alarms_is_refused(tmp_path: Path, state: str) -> None:
    """A state that is nested too deep, or has a number that is none, is refused with what to do."""
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(CommandError, match="the state of the last evaluation cannot be read"):
        State.load(tmp_path / "state.json")

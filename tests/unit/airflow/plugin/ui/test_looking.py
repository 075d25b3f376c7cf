"""What the page says of a row, without a server: states, findings, previews, who may pull, commands."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate
from tests.support.airflow_here import airflow_here
from tests.support.doubles import MemoryKeyService
from tests.support.world import World, coordinate

__all__ = ["airflow_here"]
pytestmark = pytest.mark.usefixtures("airflow_here")
NOW = datetime(2026, 12, 1, 8, tzinfo=timezone.utc)
POLICY = """
version: 1
compartments:
  - name: orders
    dags: [orders]
    key_uris: ["local:///keyring.json"]
    store_uri: "{store}"
    readers:
      - {{compartment: marketing, of_tasks: [extract]}}
      - {{dags: ["b*"], tasks: [t], of_tasks: [other]}}
  - name: marketing
    dags: [marketing]
    key_uris: ["local:///keyring.json"]
    store_uri: "{store}"
"""


@pytest.fixture
def world() -> World:
    """Orders in a compartment of its own, sealed with a double of a key."""
    found = World()
    policy = POLICY.format(store=found.store.uri).encode()
    found.policy = AccessPolicy.parse(policy, where="policy.yaml")
    double = MemoryKeyService()
    found.pipeline = found.process(lambda _: double)
    return found


def stored(value: Any, at: Coordinate | None = None, *, tagged: bool = False, text: str | None = None) -> Any:
    """A row as the tables give it."""
    from secure_xcom.airflow.plugin.ui.stored import Place, Run, StoredXCom

    where = at or coordinate()
    run = Run(1, where.dag_id, where.run_id, NOW)
    place = Place(where.task_id, where.map_index, where.key)
    return StoredXCom(run, place, json.dumps(value) if text is None else text, tagged, NOW)


def known(world: World, **settings: Any) -> Any:
    """What the API server knows of the world."""
    from secure_xcom.airflow.plugin.ui.known_deployment import Deployment

    return Deployment(Settings(**settings), world.policy, "file", "policy.yaml")


def kinds(world: World, row: Any, **settings: Any) -> list[str]:
    """The kinds of an XCom's findings."""
    from secure_xcom.airflow.plugin.ui.looking import look
    from secure_xcom.airflow.plugin.ui.xcom_findings import findings

    found = findings(look(row, world.policy), known(world, **settings), {"local:///keyring.json": 3})
    return [finding.kind for finding in found]


def test_a_sealed_row_has_no_finding(world: World) -> None:
    """A reference that a push has just made is sealed, and nothing is wrong with it but its key's version."""
    from secure_xcom.airflow.plugin.ui.looking import look

    reference = world.push({"a": 1})
    assert look(stored(reference), world.policy).state == "sealed"
    reference["keys"][0]["wrapped"] = "local:v3:x"
    assert kinds(world, stored(reference)) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda record: record["keys"][0].update(wrapped="local:v1:x"), "stale-wrap"),
        (lambda record: record["keys"][0].update(uri="local:///elsewhere.json"), "ContextRefused"),
        (lambda record: record["head"].update(object="memory://elsewhere/orders/x"), "ContextRefused"),
        (lambda record: record["head"].update(compartment="marketing"), "CompartmentUnknown"),
        (lambda record: record["head"].update(compartment="gone"), "CompartmentUnknown"),
        (lambda record: record["head"].update(created="2099-01-01T00:00:00Z"), "created-in-the-future"),
        (lambda record: record["head"].update(expires="2020-01-01T00:00:00Z"), "expired-row"),
        (lambda record: record["head"].update(readers="somebody"), "ReferenceVersionUnknown"),
        (lambda record: record["head"].update(key="other"), "CoordinateMismatch"),
        (lambda record: record["seal"].update(size=1), "ReferenceMalformed"),
        (lambda record: record["seal"].update(size=1 << 40), "ValueTooLarge"),
    ],
)
def test_what_is_wrong_is_found(world: World, change: Any, kind: str) -> None:
    """Each way in which a pull would refuse a row, or maintenance would complain of it, is a finding."""
    reference = world.push({"a": 1})
    change(reference)
    assert kind in kinds(world, stored(reference))


def test_a_row_of_another_attempt_is_found(world: World) -> None:
    """What no pull can see, the page does: the head names another attempt than the one that has the row."""
    from secure_xcom.airflow.plugin.ui.looking import look
    from secure_xcom.airflow.plugin.ui.stored import Attempt

    row = stored(world.push({"a": 1}))
    own, other = (f"019be2a1-0000-7000-8000-00000000000{number}" for number in (1, 2))
    row = replace(row, attempt=Attempt(own, 1, live=True, region_id=None, region_index=-1))
    for named, state in ((None, "sealed"), (own, "sealed"), (other, "unreadable")):
        record = json.loads(row.text or "")
        if named is not None:
            record["head"]["attempt"] = named
        assert look(replace(row, text=json.dumps(record)), world.policy).state == state


def test_plaintext_follows_the_setting(world: World) -> None:
    """Plaintext is an error; whether a pull gives it is said as the deployment has it."""
    from secure_xcom.airflow.plugin.ui.looking import look
    from secure_xcom.airflow.plugin.ui.who_may import who_may
    from secure_xcom.airflow.plugin.ui.xcom_findings import findings

    xcom = look(stored("plain"), world.policy)
    assert "A pull refuses it" in findings(xcom, known(world), {})[0].text
    assert "A pull refuses it" not in findings(xcom, known(world, on_plaintext="allow"), {})[0].text
    assert who_may(xcom, known(world))[0]["kind"] == "nobody"
    assert who_may(xcom, known(world, on_plaintext="warn"))[0]["kind"] == "everybody"


def test_who_may_pull_is_of_this_xcom(world: World) -> None:
    """Readers of other tasks' XComs are left out; without a policy nobody is named."""
    from secure_xcom.airflow.plugin.ui.known_deployment import Deployment
    from secure_xcom.airflow.plugin.ui.looking import look
    from secure_xcom.airflow.plugin.ui.who_may import who_may

    xcom = look(stored(world.push(1)), world.policy)
    assert [line["text"] for line in who_may(xcom, known(world))] == [
        "every DAG of orders",
        "compartment marketing",
    ]
    assert who_may(look(stored(world.push(1)), None), Deployment(Settings(), None, "unknown", "")) == []


_REVEAL = """
reveal:
  origin: https://reveal.example.com
  airflow_origin: https://airflow.example.com
  vault: {address: "https://vault.example.com:8200"}
"""


@pytest.mark.parametrize(
    ("viewers", "change", "offered"),
    [
        ("[{group: oncall}]", {}, True),
        ("[{group: oncall, tasks: [extract]}]", {}, True),
        ("[{group: oncall, tasks: [other]}]", {}, False),
        ("[]", {}, False),
        ("[{group: oncall}]", {"exclusive": "store"}, False),
        ("[{group: oncall}]", {"expires": "2020-01-01T00:00:00Z"}, False),
    ],
)
def test_reveal_is_offered_where_somebody_may(
    world: World, viewers: str, change: dict[str, str], offered: bool
) -> None:
    """The page says where to reveal a sealed XCom that viewers may see, and else nothing."""
    from secure_xcom.airflow.plugin.ui.describing import whole
    from secure_xcom.airflow.plugin.ui.looking import look

    text = POLICY.format(store=world.store.uri).replace(
        "dags: [orders]", f"dags: [orders]\n    viewers: {viewers}"
    )
    world.policy = AccessPolicy.parse((text + _REVEAL).encode(), where="policy.yaml")
    row = world.push({"a": 1}, coordinate())
    row["head"] |= change
    deployment = known(world)
    described = whole(look(stored(row), world.policy), deployment, {}, written_by=None, claim=None)
    expected = {"origin": "https://reveal.example.com", "attempt": None} if offered else None
    assert described["reveal"] == expected


@pytest.mark.parametrize("size", [1, 3000])
def test_no_mutation_of_a_reference_raises(world: World, size: int) -> None:
    """Whatever stands in a field, the row is described and its description is JSON."""
    from secure_xcom.airflow.plugin.ui.describing import row, whole
    from secure_xcom.airflow.plugin.ui.looking import STATES, look

    odd: list[Any] = [None, 1, -1, 1.5, True, "", "x" * size, [], {}, [[]], {"a": {}}, 10**400, "\ud800", "\x00"]
    good = world.push({"a": 1})
    paths = [(name,) for name in good] + [("head", name) for name in good["head"]] + [("seal", "size")]
    for path in paths:
        for value in odd:
            record = json.loads(json.dumps(good))
            target = record if len(path) == 1 else record[path[0]]
            target[path[-1]] = value
            xcom = look(stored(record), world.policy)
            assert xcom.state in STATES
            json.dumps(row(xcom, known(world), {}), allow_nan=False)
            json.dumps(whole(xcom, known(world), {}, written_by=None, claim=None), allow_nan=False)


def test_a_preview_is_bounded() -> None:
    """A preview of any depth, width or length is shown or left out, and numbers stay what they are."""
    from secure_xcom.airflow.plugin.ui.previews import TOO_LARGE, bounded

    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert bounded(deep) is TOO_LARGE
    assert bounded(list(range(50_000))) is TOO_LARGE
    assert bounded("x" * 100_000) is TOO_LARGE
    shown = bounded({"a": [float("nan"), 2**60, 2**50, True, None]})
    assert shown == {"a": ["nan", "1152921504606846976", 2**50, True, None]}


IDS = ["plain", "with space", "quote'", '"', "$(id)", "`id`", "a;b", "-x", "ünï", "a&b|c", "*", "~", "%s"]


@pytest.mark.parametrize("text", IDS)
def test_commands_are_what_they_say(text: str) -> None:
    """A shell gives the command exactly the coordinate that was meant, whatever the ids are."""
    from secure_xcom.airflow.plugin.ui.copyable_commands import open_command, search_command
    from secure_xcom.cli.reference_argument import coordinate_of

    at = coordinate(run_id=text, key=text, task_id="t" if set(text) & set("/:[]") else text)
    command, found = open_command(at), search_command(at)
    assert command is not None
    assert found is not None
    words = _words(command)
    assert words[:3] == ["secure-xcom", "open", "--reason"]
    assert coordinate_of(words[-1]) == at
    assert _words(found)[3:] == ["--dag=orders", f"--run={text}", f"--task={at.task_id}", f"--xcom-key={text}"]


def _words(command: str) -> list[str]:
    """What a real shell makes of a command."""
    done = subprocess.run(
        ["sh", "-c", f"for word in {command}; do printf '%s\\0' \"$word\"; done"],
        capture_output=True,
        check=True,
        cwd=os.path.dirname(__file__),
    )
    assert done.stdout.decode().split("\0")[:-1] == shlex.split(command)
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("text", ["a/b", "new\nline", "\x1b[2J", "\u202e"])
def test_what_cannot_be_pasted_is_left_out(text: str) -> None:
    """Ids with control characters make no command, and a run with a slash none that opens."""
    from secure_xcom.airflow.plugin.ui.copyable_commands import open_command, search_command

    at = coordinate(run_id=text)
    assert open_command(at) is None
    assert (search_command(at) is None) is (text != "a/b")


def test_positions_are_strict() -> None:
    """A position is what an answer gave; everything else is refused, and nothing of it reaches the database."""
    from secure_xcom.airflow.plugin.ui.cursors import decoded, encoded
    from secure_xcom.core.operator_errors import RequestInvalid

    assert decoded(encoded(["a", 1, "ü"]), (str, int, str)) == ["a", 1, "ü"]
    assert decoded(None, (str,)) is None
    for text in ("x", "W10", encoded(["a"]), encoded(["a", True]), encoded(["a\x00", 1]), encoded(["a", 1 << 70])):
        with pytest.raises(RequestInvalid):
            decoded(text, (str, int))


def test_times_are_read_in_utc() -> None:
    """A time with an offset, with Z or without is one moment; what is none is refused."""
    from secure_xcom.airflow.plugin.ui.times import text_of, time_of
    from secure_xcom.core.operator_errors import RequestInvalid

    for text in ("2026-12-01T09:00:00+01:00", "2026-12-01T08:00:00Z", "2026-12-01T08:00:00", "2026-12-01 08:00"):
        assert text_of(time_of(text, "since")) == "2026-12-01T08:00:00Z"
    with pytest.raises(RequestInvalid):
        time_of("0001-01-01T00:00:00+23:00", "since")
    assert text_of(NOW + timedelta(microseconds=5)) == "2026-12-01T08:00:00.000005Z"


def test_the_policy_is_read_anew_when_its_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy file that was changed is in force at once, and one that cannot be used is told as such."""
    from secure_xcom.airflow.plugin.ui.known_deployment import deployment

    file = tmp_path / "policy.yaml"
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__ACCESS_POLICY", str(file))
    assert deployment().state == "unknown"
    file.write_text(POLICY.format(store="file:///x"))
    assert deployment().state == "file"
    first = deployment().policy
    assert deployment().policy is first
    file.write_text(POLICY.format(store="file:///another"))
    second = deployment().policy
    assert second is not None
    assert second.compartments[0].store_uri == "file:///another"
    file.write_text("version: 2")
    assert deployment().state == "unknown"
    assert deployment().policy is None

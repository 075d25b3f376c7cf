"""Wraps to the newest version of their key, and to other keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.connections.sql.airflow_tables import Schema
from secure_xcom.core.errors import KeyServiceUnavailable
from secure_xcom.core.operator_errors import CommandError, UnsafeRefused
from secure_xcom.keys import KeyService, key_service
from secure_xcom.ops.jobs.rewrap import rewrap
from secure_xcom.ops.jobs.rewrap_plan import Plan
from secure_xcom.ops.keyring import create_keyring, rotate_keyring
from secure_xcom.sinks.access_log import AccessLog
from tests.support.each_step import Wrap, every_step
from tests.support.upkeep_world import Upkeep
from tests.support.world import coordinate


@pytest.fixture(params=Schema)
def upkeep(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Upkeep]:
    """A deployment, on each schema of Airflow's tables."""
    made = Upkeep(tmp_path / "one", schema=request.param)
    yield made
    made.close()


def versions(upkeep: Upkeep) -> list[list[str]]:
    """The start of each wrap of each row."""
    return [[key["wrapped"][:8] for key in value["keys"]] for value in upkeep.table.values()]


def test_every_wrap_comes_to_the_newest_version(upkeep: Upkeep) -> None:
    """After a rotation old wraps are renewed, new ones left, payloads not touched, and everything opens."""
    old = [upkeep.push(n) for n in range(3)]
    rotate_keyring(upkeep.keyring)
    new = upkeep.push("new")
    before, objects = upkeep.table.value(new), upkeep.objects()
    dry = upkeep.rewrap(apply=False)
    assert (dry.due, dry.rewrapped, dry.found) == (3, 0, True)
    report = upkeep.rewrap()
    assert (report.references, report.due, report.rewrapped, report.found) == (4, 3, 3, False)
    assert report.oldest == {upkeep.key_uri: 2}
    assert versions(upkeep) == [["local:v2"]] * 4
    assert (upkeep.table.value(new), upkeep.objects()) == (before, objects)
    assert [upkeep.pull(at) for at in (*old, new)] == [0, 1, 2, "new"]
    assert [record["action"] for record in upkeep.sink.records].count("rewrap") == 3
    assert upkeep.rewrap().due == 0


def test_previews_and_routes_stay_as_they_are(upkeep: Upkeep) -> None:
    """All of a record but its keys is the same after it."""
    at = upkeep.push({"followed": ["a"]}, coordinate(key="skipmixin_key"))
    before = upkeep.table.value(at)
    rotate_keyring(upkeep.keyring)
    upkeep.rewrap()
    after = upkeep.table.value(at)
    assert after.pop("keys") != before.pop("keys")
    assert after == before


def test_only_versions_below_the_given_one(upkeep: Upkeep) -> None:
    """--older-than-version leaves wraps of that version alone."""
    upkeep.push(1)
    rotate_keyring(upkeep.keyring)
    upkeep.push(2)
    rotate_keyring(upkeep.keyring)
    report = upkeep.rewrap(Plan(older_than=2))
    assert (report.rewrapped, report.oldest) == (1, {upkeep.key_uri: 2})
    assert sorted(versions(upkeep)) == [["local:v2"], ["local:v3"]]


def test_a_key_is_added_and_another_removed(upkeep: Upkeep) -> None:
    """A second key opens everything once added, alone once the first is removed; other orders are refused."""
    ats = [upkeep.push(n) for n in range(3)]
    second = f"local://{upkeep.folder}/keys/second.json"
    create_keyring(second.removeprefix("local://"))
    with pytest.raises(CommandError):
        upkeep.rewrap(Plan(add=second))
    upkeep.write_policy(keys=f"'{upkeep.key_uri}', '{second}'")
    assert upkeep.rewrap(Plan(add=second), apply=False).due == 3
    assert upkeep.rewrap(Plan(add=second)).rewrapped == 3
    assert upkeep.rewrap(Plan(add=second)).due == 0
    with pytest.raises(UnsafeRefused):
        upkeep.rewrap(Plan(remove=upkeep.key_uri))
    upkeep.write_policy(keys=f"'{upkeep.key_uri}?wrap=never', '{second}'")
    assert upkeep.rewrap(Plan(remove=upkeep.key_uri)).rewrapped == 3
    assert [[key["uri"] for key in value["keys"]] for value in upkeep.table.values()] == [[second]] * 3
    Path(upkeep.keyring).unlink()
    upkeep.write_policy(keys=second)
    assert [upkeep.pull(at) for at in ats] == [0, 1, 2]


def test_the_last_key_is_never_removed(upkeep: Upkeep) -> None:
    """A reference that no other key of the compartment would open keeps the key, and is named."""
    upkeep.push(1)
    second = f"local://{upkeep.folder}/keys/second.json"
    create_keyring(second.removeprefix("local://"))
    upkeep.write_policy(keys=f"'{upkeep.key_uri}?wrap=never', '{second}'")
    report = upkeep.rewrap(Plan(remove=upkeep.key_uri))
    assert (report.failed, report.rewrapped) == (1, 0)
    assert versions(upkeep) == [["local:v1"]]


def test_what_cannot_be_rewrapped_is_named_and_spares_the_others(upkeep: Upkeep) -> None:
    """An edited wrap, a reference in another row and a plain value are told apart; the rest is done."""
    at, edited = upkeep.push(1), upkeep.push(2)
    value = upkeep.table.value(edited)
    wrapped = value["keys"][0]["wrapped"]
    value["keys"][0]["wrapped"] = wrapped[:20] + ("A" if wrapped[20] != "A" else "B") + wrapped[21:]
    upkeep.table.put(edited, value)
    upkeep.table.put(coordinate(key="moved"), upkeep.table.value(at))
    upkeep.table.put(coordinate(key="plain"), {"a": 1})
    rotate_keyring(upkeep.keyring)
    report = upkeep.rewrap()
    assert (report.rewrapped, report.failed, report.unreadable, report.rows) == (1, 1, 1, 4)
    assert edited.key in report.failures[0]
    assert wrapped[20:] not in report.failures[0]
    # What no key has wrapped opens for nobody, and keeps no version of the key alive.
    assert (report.refused, report.oldest) == (1, {upkeep.key_uri: 2})


def test_a_task_that_writes_the_row_meanwhile_wins(upkeep: Upkeep) -> None:
    """A row that changed between reading and writing is left as the task wrote it."""
    at = upkeep.push("old")
    rotate_keyring(upkeep.keyring)

    class Pushes:
        def __init__(self, inner: KeyService) -> None:
            self.inner = inner
            self.uri = inner.uri

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def rewrap_many(self, wraps: Any) -> Any:
            upkeep.push("new", at)
            return self.inner.rewrap_many(wraps)

    report = upkeep.rewrap(services=lambda uri: Pushes(key_service(uri)))
    assert (report.rewrapped, report.changed) == (0, 1)
    assert upkeep.pull(at) == "new"


def test_a_key_service_that_goes_away_ends_it_and_it_goes_on(upkeep: Upkeep) -> None:
    """A sealed service stops the job with its error; the next run does what was left."""
    for n in range(3):
        upkeep.push(n)
    rotate_keyring(upkeep.keyring)

    class Sealed:
        uri = upkeep.key_uri

        def rewrap_many(self, wraps: Any) -> Any:
            raise KeyServiceUnavailable("sealed", where=self.uri)

    with pytest.raises(KeyServiceUnavailable):
        upkeep.rewrap(services=lambda _: Sealed())
    assert versions(upkeep) == [["local:v1"]] * 3
    assert upkeep.rewrap().rewrapped == 3


def test_killed_at_any_step_it_finishes_when_run_again(tmp_path: Path) -> None:
    """After SIGKILL at each step in turn, a second run has every wrap at the newest version, and all open."""

    def begin(folder: Path) -> Upkeep:
        made = Upkeep(folder)
        made.live = [made.push(n) for n in range(2)]
        rotate_keyring(made.keyring)
        made.close()
        return made

    def job(world: Upkeep, wrap: Wrap) -> None:
        database = world.table.database()
        rewrap(
            world.policy,
            wrap(database),
            AccessLog([wrap(world.sink)], version="test"),
            world.state,
            Plan(),
            apply=True,
            operator="me",
            services=lambda uri: wrap(key_service(uri)),
        )
        database.close()

    def end(world: Upkeep) -> None:
        assert versions(world) == [["local:v2"]] * 2
        assert [world.pull(at) for at in world.live] == [0, 1]
        assert not world.state.exists()
        world.close()

    assert every_step(tmp_path, begin, job, end) > 8


def test_the_command(upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dry by default with exit code 1; with --apply rows are changed and the oldest version is told."""
    upkeep.push(1)
    rotate_keyring(upkeep.keyring)
    config = upkeep.folder / "airflow.cfg"
    config.write_text(
        f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\naudit_sinks = file://{upkeep.folder}/log.jsonl\n"
    )
    monkeypatch.setenv("SECURE_XCOM_DB", upkeep.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(upkeep.folder / "home"))
    dry = CliRunner().invoke(app, ["rewrap", "--config", str(config)])
    assert (dry.exit_code, versions(upkeep)) == (1, [["local:v1"]])
    done = CliRunner().invoke(app, ["rewrap", "--apply", "--json", "--config", str(config)])
    assert (done.exit_code, json.loads(done.stdout)["oldest"]) == (0, {upkeep.key_uri: 2})
